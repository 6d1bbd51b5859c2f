"""Style transfer by `fit`: pairs of a list, results in the run directory, and exact continuation."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

import audiogen
from audiogen.cli import main
from audiogen.data.datasets.dataset import DatasetError
from audiogen.models.transfer import Objective
from tests.tiny_transfer import RATE, bursts, clicks, melody, write, write_config


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Write three pairs of other lengths than a clip of a second, and a list of them."""
    write(tmp_path / "melody.wav", melody(0.8))
    write(tmp_path / "bursts.wav", bursts(1.4, 16000), 16000)
    write(tmp_path / "clicks.flac", clicks(8, 0.6))
    path = tmp_path / "pairs.csv"
    rows = ["melody.wav,bursts.wav", "melody.wav,clicks.flac", "bursts.wav,clicks.flac"]
    path.write_text("\n".join(["content,style", *rows]))
    return path


def fit(pairs: Path, run: Path, *more: str, **settings: Any) -> None:
    config = write_config(pairs.parent, **({"iterations": 8} | settings))
    place = ["--data.root", str(pairs), "--trainer.default_root_dir", str(run)]
    main(["fit", "--config", str(config), *place, *more])


def test_each_pair_has_its_sound_picture_and_losses(pairs: Path, tmp_path: Path) -> None:
    fit(pairs, tmp_path / "run", "--data.batch_size", "2")
    samples = tmp_path / "run" / "samples"
    names = [f"pair-000{index}" for index in range(3)]
    assert sorted(path.name for path in samples.iterdir()) == sorted(
        [f"{name}{suffix}" for name in names for suffix in (".png", ".wav")] + ["losses.json"]
    )
    losses = json.loads((samples / "losses.json").read_text())
    assert list(losses) == names
    assert all(0 < row["style"] < 1 for row in losses.values())
    assert soundfile.info(samples / "pair-0002.wav").frames == 125 * 64


def test_pairs_give_what_they_give_alone(pairs: Path, tmp_path: Path) -> None:
    fit(pairs, tmp_path / "three", "--data.batch_size", "3")
    fit(pairs, tmp_path / "one", "--data.batch_size", "1")
    sounds = [soundfile.read(tmp_path / run / "samples" / "pair-0001.wav")[0] for run in ("three", "one")]
    assert abs(sounds[0] - sounds[1]).max() < 0.02


def test_sweep_writes_a_sound_of_each_balance(pairs: Path, tmp_path: Path) -> None:
    fit(pairs, tmp_path / "run", balance=[0.2, 0.8])
    losses = json.loads((tmp_path / "run" / "samples" / "losses.json").read_text())
    assert losses["pair-0000-balance-0.2"]["content"] < losses["pair-0000-balance-0.8"]["content"]
    assert (tmp_path / "run" / "samples" / "pair-0002-balance-0.8.wav").exists()


def test_continued_run_equals_an_uninterrupted_one(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the second pair."""
    every = ["--checkpoint.every_kimg=0.004"]
    fit(pairs, tmp_path / "whole", *every)
    compute, calls = Objective.__call__, []

    def stopped(self: Objective, spec: torch.Tensor) -> Any:
        calls.append(1)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return compute(self, spec)

    monkeypatch.setattr(Objective, "__call__", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(pairs, tmp_path / "parts", *every)
    monkeypatch.setattr(Objective, "__call__", compute)
    fit(pairs, tmp_path / "parts", *every, "--ckpt_path", "last")
    for name in ("losses.json", "pair-0001.wav", "pair-0002.wav"):
        whole, parts = (tmp_path / run / "samples" / name for run in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), name


def test_a_finished_run_that_is_started_again_says_so_and_ends(
    pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(pairs, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "samples").iterdir()}
    with caplog.at_level("INFO"):
        fit(pairs, tmp_path / "run")
    assert "This run is already done at 0.024 kimg: all 0.024 kimg have been trained" in caplog.text
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "samples").iterdir()} == before


def test_damaged_losses_are_set_aside(pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "samples"
    folder.mkdir(parents=True)
    (folder / "losses.json").write_bytes(b"\xff{")
    fit(pairs, tmp_path / "run")
    assert (folder / "losses.json.damaged").read_bytes() == b"\xff{"
    assert json.loads((folder / "losses.json").read_text()).keys() == {"pair-0000", "pair-0001", "pair-0002"}


def test_loss_that_is_not_finite_leaves_the_last_good_sounds(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = Objective.__call__, []

    def broken(self: Objective, spec: torch.Tensor) -> Any:
        calls.append(1)
        losses = compute(self, spec)
        return losses if len(calls) < 5 else losses._replace(total=losses.total * math.nan)

    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(FloatingPointError, match="became NaN or infinite at iteration 5"):
        fit(pairs, tmp_path / "run", method="adam")
    assert soundfile.read(tmp_path / "run" / "samples" / "pair-0000.wav")[0].std() > 0.01


def test_files_that_cannot_be_used_leave_their_pair_out(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "clicks.flac").write_bytes(b"no sound")
    fit(pairs, tmp_path / "run")
    assert list(json.loads((tmp_path / "run" / "samples" / "losses.json").read_text())) == ["pair-0000"]
    assert "clicks.flac" in (tmp_path / "run" / "left_out.txt").read_text()


def test_sounds_in_several_segments_are_refused(pairs: Path, tmp_path: Path) -> None:
    write(tmp_path / "bursts.wav", bursts(3.2))
    with pytest.raises(DatasetError, match=r"one clip per sound: use --data\.crop start or center"):
        fit(pairs, tmp_path / "run", "--data.crop", "random", "--data.segment_seconds", "1.0")


def test_verbs_that_need_a_trained_model_say_so(pairs: Path, tmp_path: Path) -> None:
    fit(pairs, tmp_path / "run", iterations=1)
    with pytest.raises(ValueError, match="convert needs a model with a method convert; StyleTransfer has none"):
        audiogen.convert(tmp_path / "run", tmp_path / "melody.wav")
    with pytest.raises(ValueError, match="generate needs a model with a method sample; StyleTransfer has none"):
        audiogen.generate(tmp_path / "run")
    config = ["--config", str(tmp_path / "config.yaml"), "--data.root", str(pairs)]
    with pytest.raises(ValueError, match="No `test_step"):
        main(["test", *config, "--trainer.default_root_dir", str(tmp_path / "run")])


def test_rate_is_that_of_the_config(pairs: Path, tmp_path: Path) -> None:
    fit(pairs, tmp_path / "run", iterations=1)
    assert soundfile.info(tmp_path / "run" / "samples" / "pair-0000.wav").samplerate == RATE
