"""Crops: which part of a sound becomes a clip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen.audio.io import read_audio
from audiogen.data import loading
from audiogen.data.datasets.dataset import AudioItem
from audiogen.data.pipeline import Pipeline
from audiogen.data.report import report
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from tests.data.tiny_sets import STEP, load, write_samples


def test_random_crops_reach_all_of_a_clip(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    split = load([clip("0.wav", seconds=1), clip("1.wav", seconds=1)], transform, crop="random").splits["train"]
    whole = transform(read_audio(clip("0.wav", seconds=1, frequency=440).path, 8000)[None])
    last = whole.shape[-1] - transform.shape[2]
    for crop, start in ((0.0, 0), (0.5, (last + 1) // 2), (0.9999, last)):
        spec = split.__getitems__([(0, crop)]).spec
        torch.testing.assert_close(spec, whole[..., start : start + 24], rtol=0, atol=STEP)


def make_transforms() -> dict[str, SpectrogramTransform]:
    return {
        "mel": LogMel(8000, 256, 64, 24, 24),
        "stft": STFT(8000, 256, 64, 24),
        "mfcc": MFCC(8000, 256, 64, 12, 24, 24),
        "cqt": CQT(8000, 64, 100.0, 24, 12, 24),
    }


@pytest.mark.parametrize("name", list(make_transforms()))
def test_random_crops_of_a_word_before_long_silence_all_contain_sound(name: str, tmp_path: Path) -> None:
    transform = make_transforms()[name]
    samples = np.zeros(8000 * 10)
    for start, end in ((8000, 12000), (40000, 40500)):
        samples[start:end] = np.random.default_rng(start).standard_normal(end - start) / 9
    word = AudioItem(write_samples(tmp_path / "word.wav", samples), "a", "train")
    other = AudioItem(
        write_samples(tmp_path / "noise.wav", np.random.default_rng(0).standard_normal(8000) / 9), "a", "train"
    )
    loaded = loading.load([word, other], Pipeline(transform, crop="random"), tmp_path / "cache")
    split = loaded.splits["train"]
    silent = transform(torch.zeros(1, 1, transform.num_samples))
    crops = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    shown = split.__getitems__([(0, crop) for crop in crops]).spec
    assert ((shown - silent).abs() > 1e-3).flatten(1).any(dim=1).all()
    assert torch.equal(shown, split.__getitems__([(0, crop) for crop in crops]).spec)
    whole = split.store.frames(0)
    found = {next(i for i in range(len(whole)) if np.array_equal(whole[i : i + 24], clip)) for clip in _stored(shown)}
    assert len(found) > 100  # at all positions with sound, not only one
    assert min(found) < 130
    assert max(found) > 600
    assert "of the possible random crops contain only silence" in str(report(loaded, Pipeline(transform)))
    assert split.take([0]).std() > 0


def _stored(spec: torch.Tensor) -> np.ndarray:
    return (spec * 32767).round().to(torch.int16).permute(0, 3, 1, 2).numpy()


@pytest.mark.parametrize(("crop", "start"), [("start", 0), ("center", 1232)])
def test_sound_longer_than_a_clip_is_cropped_as_configured(
    clip: Callable[..., AudioItem], transform: LogMel, crop: str, start: int
) -> None:
    clips = [clip(f"{i}.wav", seconds=0.5, sample_rate=8000) for i in range(2)]  # 4000 samples, a clip has 1536
    spec = load(clips, transform, crop=crop).splits["train"].take([0])
    wav = read_audio(clips[0].path, 8000)[:, start : start + transform.num_samples]
    torch.testing.assert_close(spec, transform(wav[None]), rtol=0, atol=STEP)


def test_long_file_is_divided_into_clips_for_random_crops(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    long, short = clip("0.wav", seconds=5.1), clip("1.wav", seconds=0.5)
    split = load([long, short], transform, crop="random", segment_seconds=1).splits["train"]
    assert split.store.file[split.segment].tolist() == [0, 0, 0, 0, 0, 1]  # the last 0.1 s is shorter than a clip
    assert split.store.num_frames.tolist() == [125] * 5 + [63]


def test_silent_segment_of_a_long_file_is_skipped(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path
) -> None:
    samples = np.sin(np.arange(8000 * 4)) / 2
    samples[8000:16000] = 0
    gap = AudioItem(write_samples(tmp_path / "gap.wav", samples), "a", "train")
    split = load([gap, clip("1.wav")], transform, crop="random", segment_seconds=1).splits["train"]
    assert split.store.file.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("crop", ["start", "center", "random"])
def test_recording_is_cut_into_clips_and_split_by_time_without_overlap(
    transform: LogMel, tmp_path: Path, crop: str
) -> None:
    time = np.arange(40 * transform.num_samples + 500) / 8000
    rising = 0.5 * np.sin(2 * np.pi * (300 + 200 * time) * time)  # 300 to 3370 Hz: the pitch encodes the time
    rising[7 * transform.num_samples : 8 * transform.num_samples] = 0
    path = write_samples(tmp_path / "long.wav", rising)
    clips = [AudioItem(path, None, "train", span=(0.0, 0.75)), AudioItem(path, None, "val", span=(0.75, 1.0))]
    loaded = load(clips, transform, crop=crop)
    bands = {
        name: [split.store.frames(segment)[4:-4, 0].sum(axis=0).argmax() for segment in split.segment.tolist()]
        for name, split in loaded.splits.items()
    }
    assert max(bands["train"]) <= min(bands["val"])
    assert {name: len(found) for name, found in bands.items()} == (
        {"train": 15, "val": 5} if crop == "random" else {"train": 29, "val": 10}  # a silent clip is left out
    )
    assert loaded.summary().startswith("Data: 1 of 1 files used (")
    assert loaded.fingerprint() != load(clips[:1], transform, crop=crop).fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "middle"}, "crop must be one of start, center, random, got 'middle'"),
        ({"segment_seconds": 0.1}, r"segment_seconds must be at least the length of a clip, 0.19 s, got 0.1"),
    ],
)
def test_options_out_of_range_are_refused(transform: LogMel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(transform, **options)
