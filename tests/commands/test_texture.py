"""The command texture, as a user would try it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import audiogen
from audiogen.__main__ import run
from audiogen.commands import texture as texture_module
from audiogen.commands.transfer_sounds import Synthesis
from audiogen.metrics.texture import texture_distance
from tests.tiny_transfer import RATE, bursts, click_rate, clicks, write, write_config


def wav(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)[None]


def test_texture_of_clicks_at_8_hertz_has_clicks_at_about_8_hertz(tmp_path: Path) -> None:
    reference = write(tmp_path / "clicks.wav", clicks(8))
    config = write_config(tmp_path, {"width": 256}, iterations=80)
    made = audiogen.texture(reference, config=str(config), seconds=4, event=0.26)
    assert made.wav.shape == (1, 4 * RATE)
    assert click_rate(made.wav[0].numpy()) == pytest.approx(8, abs=0.5)


def test_texture_is_nearer_to_its_reference_than_to_another_sound(tmp_path: Path) -> None:
    reference = write(tmp_path / "bursts.wav", bursts(3.0))
    config = write_config(tmp_path, iterations=60, style_layers=["input", "relu_1"])
    made = audiogen.texture(reference, config=str(config), seconds=3)
    own, other = (texture_distance(made.wav, wav(sound), RATE) for sound in (bursts(3.0), clicks(8)))
    assert own.mean < 0.7 * other.mean


def test_command_takes_several_references_with_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.wav"), bursts())
    write(Path("b.flac"), clicks(5, rate=16000), 16000)
    write_config(tmp_path)
    settings = ["--config", "config.yaml", "--seconds", "1.5", "--iterations", "5", "--weights", "0.7,0.3"]
    run(["texture", "a.wav", "b.flac", *settings, "--out", "made.wav"])
    told = capsys.readouterr().out
    assert "Made 1.5 s" in told
    assert "b.flac: resampled from 16000 to 8000 Hz" in told
    assert json.loads(Path("made.json").read_text())["weights"] == [0.7, 0.3]
    assert Path("made.png").exists()


def test_weights_of_a_mixture_move_it_from_one_reference_to_the_other(tmp_path: Path) -> None:
    time = np.arange(2 * RATE) / RATE
    low, high = (0.1 * np.sin(2 * np.pi * pitch * time) + 0.02 * bursts() for pitch in (500, 2500))
    references = [write(tmp_path / "low.wav", low), write(tmp_path / "high.wav", high)]
    shares = []
    for weights in ("1,0", "0.5,0.5", "0,1"):
        made = audiogen.texture(references, config=str(write_config(tmp_path)), seconds=2, weights=weights)
        power = np.abs(np.fft.rfft(made.wav[0].numpy())) ** 2
        shares.append(power[len(power) // 3 :].sum() / power.sum())
    assert shares[0] < 0.1 < shares[1] < 0.9 < shares[2]


def test_long_texture_is_made_in_chunks_that_go_on_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Synthesis, "chunk", 80)
    time = np.arange(2 * RATE) / RATE
    steady = write(tmp_path / "steady.wav", 0.3 * np.sin(2 * np.pi * 500 * time))
    config = write_config(tmp_path, {"width": 512}, iterations=60)
    made = audiogen.texture(steady, config=str(config), seconds=2.5)
    assert made.wav.shape[1] == pytest.approx(2.5 * RATE, abs=64)
    assert made.wav.std().item() == pytest.approx(0.3 / 2**0.5, rel=0.3)
    peaks = made.wav[0].unfold(0, 400, 200).abs().amax(dim=1)[3:-3]  # of 50 ms each
    assert peaks.min() > 0.1  # no gap where one chunk ends


def test_endless_texture_ends_with_the_interruption_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Synthesis, "chunk", 100)
    lengths = texture_module._lengths

    def interrupted(frames: float, synthesis: Synthesis) -> Iterator[int]:
        for index, length in enumerate(lengths(frames, synthesis)):
            if index == 3:
                raise KeyboardInterrupt
            yield length

    monkeypatch.setattr(texture_module, "_lengths", interrupted)
    reference, out = write(tmp_path / "bursts.wav", bursts()), tmp_path / "made.wav"
    made = audiogen.texture(reference, out, float("inf"), config=str(write_config(tmp_path)), iterations=2)
    assert made.seconds == pytest.approx(300 * 64 / RATE)
    assert soundfile.info(out).frames == 300 * 64


def test_time_as_channels_makes_a_sound_as_long_as_its_reference(tmp_path: Path) -> None:
    reference = write(tmp_path / "bursts.wav", bursts(1.5))
    config = str(write_config(tmp_path, {"orientation": "time"}))
    assert audiogen.texture(reference, config=config, iterations=2).wav.shape[1] == pytest.approx(1.5 * RATE, abs=64)
    with pytest.raises(ValueError, match="leave out --event and --seconds"):
        audiogen.texture(reference, config=config, seconds=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "1,2"}, "a weight of at least 0 for each of 1 references, got 1,2"),
        ({"weights": "much"}, "expected weights such as 0.7,0.3, got 'much'"),
        ({"seconds": -1.0}, "seconds above 0, got -1"),
        ({"seconds": 0.01}, "the texture is too short"),
        ({"seconds": float("inf")}, "a sound without an end needs a file"),
        ({"event": 0.0}, "an event above 0"),
        ({"out": "made.mid"}, "should end in one of"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    reference = write(tmp_path / "bursts.wav", bursts())
    with pytest.raises(ValueError, match=message):
        audiogen.texture(reference, **({"config": str(write_config(tmp_path))} | settings))
