"""The command stylize, as a user would try it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import audiogen
from audiogen.__main__ import run
from audiogen.audio.level import active_level
from audiogen.commands.transfer_sounds import Synthesis
from audiogen.metrics.contours import contour_match
from audiogen.metrics.texture import texture_distance
from audiogen.models.transfer import Objective
from audiogen.resources import config_names
from tests.tiny_transfer import RATE, bursts, melody, write, write_config


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "content.wav", melody()), write(tmp_path / "style.wav", bursts())


def wav(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)[None]


def test_melody_with_the_style_of_bursts_keeps_its_onsets_and_takes_their_spectrum(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    made = audiogen.stylize(*pair, config=str(write_config(tmp_path, iterations=60)))
    assert made.wav.shape == (1, 2 * RATE)
    assert contour_match(made.wav, wav(melody()), RATE).onsets > 0.85
    before = texture_distance(wav(melody()), wav(bursts()), RATE).mean
    assert texture_distance(made.wav, wav(bursts()), RATE).mean < 0.7 * before
    assert made.losses[0]["style"] < 0.2


def test_command_writes_sound_picture_and_settings(
    tmp_path: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    run(
        [
            "stylize",
            *map(str, pair),
            "--config",
            "config.yaml",
            "--out",
            "made.wav",
            "--style-weight=3",
            "--iterations=4",
        ]
    )
    assert "Made 2.0 s of sound at 8000 Hz" in capsys.readouterr().out
    assert soundfile.info("made.wav").frames == 2 * RATE
    assert Path("made.png").stat().st_size > 1000
    told = json.loads(Path("made.json").read_text())
    assert told["settings"]["init_args"]["style_weight"] == 3
    assert told["settings"]["init_args"]["iterations"] == 4
    assert told["variants"][0]["losses"]["style"] > 0
    assert told["content"] == str(pair[0])


def test_sweep_makes_a_sound_for_each_balance(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    made = audiogen.stylize(*pair, tmp_path / "made.flac", str(write_config(tmp_path)), sweep=3)
    assert [path.name for path in made.files] == [
        "made-balance-0.flac",
        "made-balance-0.5.flac",
        "made-balance-1.flac",
        "made.png",
        "made.json",
    ]
    assert made.losses[0]["content"] < made.losses[1]["content"] < made.losses[2]["content"]
    assert made.losses[0]["style"] > 0.9
    assert made.losses[1]["style"] > made.losses[2]["style"]


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(0.7, 44100, 2), (1.31, 11025, 1)])
def test_other_formats_lengths_and_rates_keep_the_duration_and_are_told(
    tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    sound = np.repeat(melody(seconds, rate)[:, None], channels, axis=1)
    content, style = (
        write(tmp_path / "content.flac", sound, rate),
        write(tmp_path / "style.ogg", bursts(3.0, 22050), 22050),
    )
    made = audiogen.stylize(content, style, config=str(write_config(tmp_path)), iterations=3)
    assert abs(made.wav.shape[1] / RATE - seconds) <= 64 / RATE
    assert any("resampled from 22050 to 8000 Hz" in note for note in made.notes)
    assert any(f"resampled from {rate} to 8000 Hz" in note for note in made.notes)
    assert any("2 channels mixed to 1" in note for note in made.notes) == (channels == 2)


def write_float(path: Path, sound: np.ndarray) -> Path:
    """Write a sound without rounding it to 16 bits."""
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(("content_db", "style_db"), [(-20, 0), (-60, 0), (0, -60)])
def test_result_does_not_depend_on_levels_and_has_that_of_the_content(
    tmp_path: Path, content_db: int, style_db: int
) -> None:
    gains = [10 ** (db / 20) for db in (content_db, style_db)]
    sounds = [0.5 * melody(), 0.5 * bursts()]
    config = str(write_config(tmp_path))
    plain = audiogen.stylize(*(write_float(tmp_path / f"{i}.wav", s) for i, s in enumerate(sounds)), config=config)
    scaled = [
        write_float(tmp_path / f"scaled{i}.wav", g * s) for i, (g, s) in enumerate(zip(gains, sounds, strict=True))
    ]
    made = audiogen.stylize(*scaled, config=config)
    assert made.losses[0]["style"] == pytest.approx(plain.losses[0]["style"], rel=0.02)
    assert texture_distance(made.wav, plain.wav, RATE).mean < 1.0  # dB; rounding alone moves bands by less
    levels = [active_level([each], RATE) for each in (made.wav, plain.wav, wav(sounds[0]))]
    assert levels[0] / gains[0] == pytest.approx(levels[1], rel=0.05)
    assert 0.4 < levels[1] / levels[2] < 2.5


def test_steady_tone_is_restyled(tmp_path: Path) -> None:
    tone = write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE))
    style = write(tmp_path / "style.wav", bursts())
    made = audiogen.stylize(tone, style, config=str(write_config(tmp_path, iterations=60)))
    assert made.losses[0]["style"] < 0.2


def test_clipping_is_told(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    loud = write(tmp_path / "loud.wav", np.sign(melody()) * 0.999)
    made = audiogen.stylize(loud, pair[1], tmp_path / "made.wav", str(write_config(tmp_path)), balance=0.0)
    assert any("exceeded full scale and were clipped" in note for note in made.notes)


def test_only_the_seconds_asked_for_are_made(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    made = audiogen.stylize(*pair, config=str(write_config(tmp_path)), seconds=0.5, iterations=2)
    assert made.wav.shape[1] == pytest.approx(0.5 * RATE, abs=64)


def test_long_content_is_made_in_chunks_without_seams(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    time = np.arange(2 * RATE) / RATE
    steady = write(tmp_path / "steady.wav", 0.3 * np.sin(2 * np.pi * 500 * time))
    largest = []
    for chunk in (1000, 60):  # frames: all at once, and half a second each
        monkeypatch.setattr(Synthesis, "chunk", chunk)
        made = audiogen.stylize(steady, pair[1], config=str(write_config(tmp_path)), balance=0.0)
        assert made.wav.shape == (1, 2 * RATE)
        largest.append(made.wav[0].diff().diff().abs()[500:-500].max().item())  # a click has ten times as much
    assert largest[1] < 1.5 * largest[0]


def test_time_as_channels_takes_any_length(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    short = write(tmp_path / "short.wav", bursts(0.8))
    config = str(write_config(tmp_path, {"orientation": "time"}))
    assert audiogen.stylize(pair[0], short, config=config, iterations=3).wav.shape == (1, 2 * RATE)


def test_loss_that_is_not_finite_leaves_the_last_good_sound_and_says_so(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = Objective.__call__, []

    def broken(self: Objective, spec: torch.Tensor) -> Any:
        calls.append(1)
        losses = compute(self, spec)
        return losses if len(calls) < 6 else losses._replace(total=losses.total * math.nan)

    monkeypatch.setattr(Objective, "__call__", broken)
    out = tmp_path / "made.wav"
    made = audiogen.stylize(*pair, out, str(write_config(tmp_path, line_search=False, method="adam")))
    assert "NaN or infinite at iteration 6" in str(made)
    assert soundfile.read(out)[0].std() > 0.01


def test_trained_network_is_taken_by_its_checkpoint_only_for_its_spectrogram(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    with pytest.raises(ValueError, match="no such checkpoint"):
        audiogen.stylize(*pair, config=str(write_config(tmp_path)), network=str(tmp_path / "none.ckpt"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config": "nothing"}, r"no config 'nothing': expected a YAML file or one of .*huzaifah_wyse.*lin"),
        ({"config": "configs/quickstart.yaml"}, "does not describe a style transfer model"),
        ({"balance": 0.5, "sweep": 3}, "--balance and --sweep exclude each other"),
        ({"balance": 0.5, "style_weight": 3.0}, "--balance and --style_weight exclude each other"),
        ({"balance": 2.0}, r"balance must be in \[0"),
        ({"sweep": 1}, "a sweep needs at least 2 sounds"),
        ({"seconds": 0.0}, "seconds above 0"),
        ({"out": "made.txt"}, r"should end in one of .*\.wav"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, pair: tuple[Path, Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        audiogen.stylize(*pair, **({"config": str(write_config(tmp_path))} | settings))


def test_sounds_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    config = str(write_config(tmp_path))
    silent = write(tmp_path / "silent.wav", np.zeros(RATE))
    short = write(tmp_path / "short.wav", melody(0.05))
    (tmp_path / "text.wav").write_text("no sound")
    for content, style, message in (
        (silent, pair[1], r"silent\.wav cannot be used: silent"),
        (pair[0], silent, r"silent\.wav cannot be used: silent"),
        (short, pair[1], r"short\.wav is too short: 0\.06 s, but the network needs 0\.09 s"),
        (pair[0], short, r"short\.wav is too short"),
        (tmp_path / "text.wav", pair[1], r"text\.wav cannot be used: unreadable"),
        (pair[0], tmp_path / "none.wav", r"none\.wav cannot be used: unreadable \(no such file\)"),
    ):
        with pytest.raises(ValueError, match=message):
            audiogen.stylize(content, style, tmp_path / "made.wav", config)
    assert not (tmp_path / "made.wav").exists()


def test_configs_come_with_the_package() -> None:
    assert {"style_transfer", "huzaifah_wyse", "jain_raj", "lin"} <= set(config_names())
