"""Sounds that cannot be used are left out, named and counted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen.audio.preprocess import PreprocessStep
from audiogen.data.datasets.dataset import AudioItem, DatasetError
from audiogen.transforms.mel import LogMel
from tests.data.tiny_sets import load, specs, write_samples


def test_bad_files_are_left_out_named_and_counted_by_reason(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path
) -> None:
    good = [clip("good0.wav"), clip("good1.wav")]
    (tmp_path / "garbage.wav").write_bytes(b"no sound" * 50)
    bad = [
        AudioItem(write_samples(tmp_path / "silent0.wav", np.zeros(2000)), "a", "train"),
        AudioItem(write_samples(tmp_path / "silent1.wav", np.zeros(2000)), "a", "test"),
        AudioItem(write_samples(tmp_path / "nan.wav", np.full(2000, np.nan)), "a", "train"),
        clip("short.wav", seconds=0.01),
        AudioItem(tmp_path / "garbage.wav", "a", "train"),
        AudioItem(tmp_path / "missing.wav", "a", "train"),
    ]
    loaded = load([*bad[:3], *good, *bad[3:]], transform, min_seconds=0.05)
    assert torch.equal(specs(loaded.splits["train"]), specs(load(good, transform).splits["train"]))
    assert list(loaded.splits) == ["train"]
    assert [listed for _, listed in loaded.rejected] == bad
    lines = loaded.summary().splitlines()
    assert lines[0] == "Data: 2 of 8 files used (2 train), 1 classes"
    counted = [line.strip() for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert sorted(counted) == [
        "1 left out: not finite",
        "1 left out: too short",
        "2 left out: silent",
        "2 left out: unreadable",
    ]
    for name in ("silent0", "silent1", "nan", "short", "garbage", "missing"):
        assert sum(f"{name}.wav: " in line for line in lines) == 1
    assert "missing.wav: unreadable (no such file)" in loaded.summary()
    assert "short.wav: too short (0.010 s, need 0.05 s)" in loaded.summary()


def test_long_lists_of_bad_files_are_shortened_with_a_count(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path
) -> None:
    missing = [AudioItem(tmp_path / f"missing{i}.wav", "a", "train") for i in range(7)]
    lines = load([clip("0.wav"), clip("1.wav"), *missing], transform).summary().splitlines()
    assert lines[1] == "  7 left out: unreadable"
    assert len(lines) == 2 + 5 + 1
    assert lines[-1] == "    ... and 2 more"


def test_class_with_one_usable_file_is_left_out(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path
) -> None:
    lonely = clip("lonely.wav", "b")
    gone = AudioItem(tmp_path / "missing.wav", "b", "train")
    loaded = load([lonely, clip("0.wav", "c"), gone, clip("1.wav", "c")], transform)
    assert loaded.label_names == ["c"]
    assert loaded.splits["train"].label.tolist() == [0, 0]
    assert ("its class has fewer than two clips to train on", lonely) in loaded.rejected
    assert f"{lonely.path}: its class has fewer than two clips to train on" in loaded.summary()


def test_data_without_a_usable_file_are_refused_naming_the_reasons(transform: LogMel, tmp_path: Path) -> None:
    silent = write_samples(tmp_path / "silent.wav", np.zeros(2000))
    clips = [AudioItem(silent, "a", "train"), AudioItem(tmp_path / "missing.wav", "a", "train")]
    with pytest.raises(DatasetError) as caught:
        load(clips, transform)
    for part in ("nothing to train on", "0 of 2 files used", "silent.wav: silent", "missing.wav: unreadable"):
        assert part in str(caught.value)


def test_classes_of_one_file_each_are_refused(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    clips = [clip("0.wav", "a"), clip("1.wav", "b"), clip("2.wav", "b", "test")]
    with pytest.raises(DatasetError, match=r"no class has two usable clips to train on\nData: 0 of 3 files used"):
        load(clips, transform)


def test_classes_that_cannot_be_trained_are_left_out_of_all_splits(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    unseen = clip("0.wav", "unseen", "test")
    loaded = load([unseen, clip("1.wav", "a"), clip("2.wav", "a"), clip("3.wav", "a", "test")], transform)
    assert loaded.label_names == ["a"]
    assert [other for _, other in loaded.rejected] == [unseen]
    assert loaded.left_out() == f"{unseen.path}: its class has fewer than two clips to train on\n"


@pytest.mark.parametrize("crop", ["start", "center"])
def test_silent_clip_of_a_file_with_sound_is_left_out(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path, crop: str
) -> None:
    samples = np.sin(np.arange(24000)) / 2
    samples[:20000] = 0
    late = AudioItem(write_samples(tmp_path / "late.wav", samples), "a", "train")
    loaded = load([late, clip("0.wav"), clip("1.wav")], transform, crop=crop)
    assert loaded.rejected == [(f"silent (in the {crop} crop, every sample is the same)", late)]


def test_error_of_a_step_names_the_file(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    class Fails(PreprocessStep):
        def __call__(self, wav: torch.Tensor, sample_rate: int) -> torch.Tensor:
            raise RuntimeError("no idea")

    with pytest.raises(DatasetError, match=r"0\.wav: RuntimeError: no idea"):
        load([clip("0.wav"), clip("1.wav")], transform, steps=(Fails(),))


def test_clip_is_left_out_if_a_step_makes_nan(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    class Root(PreprocessStep):
        def __call__(self, wav: torch.Tensor, sample_rate: int) -> torch.Tensor:
            return wav.sqrt()

    with pytest.raises(DatasetError, match=r"0\.wav: Root: not finite \(it made NaN or Inf samples\)"):
        load([clip("0.wav"), clip("1.wav")], transform, steps=(Root(),))
