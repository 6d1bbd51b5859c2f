"""A sound that is listed several times is used once, and never in two splits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen.data.datasets.dataset import AudioItem, Split
from audiogen.transforms.mel import LogMel
from tests.data.tiny_sets import load, write_samples


def test_same_sound_is_one_clip_and_conflicting_classes_are_reported(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    first, same, other = (clip(f"{name}.wav", label, frequency=500) for name, label in ("0a", "1a", "2b"))
    loaded = load([first, same, other, clip("3.wav"), clip("4.wav", "b"), clip("5.wav", "b")], transform)
    assert loaded.rejected == [
        (f"duplicate (the same sound as {first.path})", same),
        (f"in two classes (the same sound as {first.path} of a)", other),
    ]
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 4}


@pytest.mark.parametrize("copy", ["1.flac", "1.aiff", "24 bit.wav", "tagged.wav", "two channels.wav"])
@pytest.mark.parametrize(("label", "split"), [("a", "train"), ("a", "val"), ("b", "train"), ("b", "test")])
def test_identical_samples_are_never_in_two_splits_or_classes(
    copy: str, label: str, split: Split, transform: LogMel, tmp_path: Path
) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, 3000).astype(np.int16)
    soundfile.write(tmp_path / "0.wav", samples, 8000)
    options = {"24 bit.wav": {"subtype": "PCM_24"}}.get(copy, {})
    twice = np.repeat(samples[:, None], 2, axis=1) if copy == "two channels.wav" else samples
    soundfile.write(tmp_path / copy, twice, 8000, **options)
    if copy == "tagged.wav":
        with (tmp_path / copy).open("ab") as file:
            file.write(b"note\x04\x00\x00\x00tag ")
    assert (tmp_path / copy).read_bytes() != (tmp_path / "0.wav").read_bytes()
    others = []
    for index in range(4):
        noise = np.random.default_rng(1 + index).standard_normal(3000) / 9
        others.append(AudioItem(write_samples(tmp_path / f"other{index}.wav", noise), "ab"[index % 2], "train"))
    first, again = AudioItem(tmp_path / "0.wav", "a", "train"), AudioItem(tmp_path / copy, label, split)
    loaded = load([first, again, *others], transform)
    reason = "duplicate (the same sound as {})" if label == "a" else "in two classes (the same sound as {} of a)"
    assert loaded.rejected == [(reason.format(first.path), again)]
    assert first in loaded.items


def test_sounds_that_differ_in_one_sample_or_in_rate_are_distinct(transform: LogMel, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal(3000) / 9
    changed = samples.copy()
    changed[-1] += 0.01
    paths = [write_samples(tmp_path / f"{index}.wav", each) for index, each in enumerate((samples, changed))]
    soundfile.write(tmp_path / "2.wav", samples, 8001, subtype="FLOAT")
    clips = [AudioItem(path, "a", "train") for path in [*paths, tmp_path / "2.wav"]]
    assert load(clips, transform).rejected == []


def test_sound_in_two_exclusive_classes_is_in_neither(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    first, other = (clip(f"{name}.wav", label, frequency=500) for name, label in ("0a", "1b"))
    rest = [clip(f"{name}.wav", label) for name, label in ("2a", "3a", "4b", "5b")]
    loaded = load([first, other, *rest], transform, exclusive=True)
    assert loaded.rejected == [
        (f"in two classes (the same sound as {other.path} of b)", first),
        (f"in two classes (the same sound as {first.path} of a)", other),
    ]


def test_clip_of_two_classes_is_in_both_if_allowed(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    both = clip("0.wav", "awe")
    clips = [both, AudioItem(both.path, "fear", "train"), clip("1.wav", "awe"), clip("2.wav", "fear")]
    clips += [clip("3.wav", "awe"), clip("4.wav", "fear")]
    split = load(clips, transform, several_labels=True).splits["train"]
    assert split.label.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(split.take([0]), split.take([1]))
    reason = f"in two classes (the same sound as {both.path} of awe)"
    assert load(clips, transform).rejected == [(reason, clips[1])]


def test_clip_of_two_classes_is_never_in_two_splits(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    both = clip("0.wav", "awe")
    again = AudioItem(both.path, "fear", "val")
    rest = [clip(f"{index}.wav", label) for index, label in enumerate(("awe", "fear", "fear"), start=1)]
    loaded = load([both, again, *rest], transform, several_labels=True)
    assert loaded.rejected == [("listed twice (as train and val)", again)]


def test_file_listed_in_two_splits_is_reported_as_such(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    first = clip("0.wav")
    again = AudioItem(first.path, "a", "val")
    assert load([first, again, clip("1.wav")], transform).rejected == [("listed twice (as train and val)", again)]
