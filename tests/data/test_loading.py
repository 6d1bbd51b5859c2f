"""From files to spectrograms: the same as by hand, and whatever is left out is named and counted."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiogen.audio.io import read_audio
from audiogen.audio.length import fit_length
from audiogen.audio.preprocess import PreprocessStep
from audiogen.data import loading
from audiogen.data.cache import cache_folder
from audiogen.data.datasets.dataset import AudioItem, DatasetError, Split
from audiogen.data.pipeline import Pipeline
from audiogen.data.report import report
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform

WriteTone = Callable[..., Path]
STEP = 0.5 / 32767 + 1e-6  # of what is stored


def load(
    clips: list[AudioItem],
    transform: LogMel,
    label_order: tuple[str, ...] = (),
    exclusive: bool = False,
    several_labels: bool = False,
    **pipeline: Any,
) -> loading.LoadedData:
    rules = {"exclusive": exclusive, "several_labels": several_labels}
    return loading.load(clips, Pipeline(transform, **pipeline), cache_folder(), label_order, **rules)


def specs(split: loading.Spectrograms) -> torch.Tensor:
    return split.take(range(len(split)))


@pytest.fixture(scope="module")
def transform() -> LogMel:
    return LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=24, num_frames=24)  # 0.19 s


@pytest.fixture
def clip(write_tone: WriteTone) -> Callable[..., AudioItem]:
    """Return a function that writes a sine and lists it; no two are quite the same."""
    count = itertools.count()

    def make(name: str, label: str | None = "a", split: Split = "train", **arguments: float) -> AudioItem:
        return AudioItem(write_tone(name, **{"frequency": 440 + next(count) / 10, **arguments}), label, split)

    return make


def write_samples(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    return path


def test_spectrograms_are_those_of_the_files_one_by_one(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    clips = [clip(f"{i}.wav", frequency=300 + 200 * i, seconds=0.1 + 0.1 * i) for i in range(4)]  # shorter and longer
    loaded = specs(load(clips, transform).splits["train"])
    for spec, listed in zip(loaded, clips, strict=True):
        wav = fit_length(read_audio(listed.path, 8000), transform.num_samples)
        torch.testing.assert_close(spec, transform(wav[None])[0], rtol=0, atol=STEP)
    assert loaded[0, :, :, -5:].max() == -1  # the padding is silence


def test_formats_rates_and_channels_load_to_one_shape_and_sound(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    clips = [
        clip("a.wav", sample_rate=8000),
        clip("b.flac", sample_rate=44100, num_channels=2),
        clip("c.ogg", sample_rate=16000),
        clip("d.mp3", sample_rate=22050, num_channels=2),
        clip("e.aiff", sample_rate=48000),
    ]
    spec = specs(load(clips, transform).splits["train"])
    assert spec.shape == (5, *transform.shape)
    loudest = spec[:, 0, :, 12]  # 440 Hz at half of full scale, in the middle of each clip
    assert set(loudest.argmax(dim=1).tolist()) == {int((transform.frequencies() - 440).abs().argmin())}
    assert loudest.amax(dim=1).tolist() == pytest.approx([loudest[0].max().item()] * 5, abs=0.02)  # 0.9 dB


def test_stereo_transform_gets_both_channels(clip: Callable[..., AudioItem]) -> None:
    stereo = LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=24, num_frames=24, num_channels=2)
    both = [clip("a.wav", frequency=440), clip("b.wav", frequency=450, num_channels=2)]
    spec = specs(load(both, stereo).splits["train"])
    assert spec.shape == (2, 2, 24, 24)
    torch.testing.assert_close(spec[:, 0], spec[:, 1], rtol=0, atol=0)


def test_labels_index_the_class_names_in_each_split(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    clips = [
        clip("0.wav", "dog", "test"),
        clip("1.wav", "cat", "train"),
        clip("2.wav", "dog", "train"),
        clip("3.wav", "cat", "val"),
        clip("4.wav", "cat", "train"),
        clip("5.wav", "dog", "train"),
    ]
    loaded = load(clips, transform)
    assert loaded.label_names == ["cat", "dog"]
    assert list(loaded.splits) == ["train", "val", "test"]
    assert {name: split.label.tolist() for name, split in loaded.splits.items()} == {
        "train": [0, 1, 0, 1],
        "val": [0],
        "test": [1],
    }
    assert loaded.summary() == "Data: 6 of 6 files used (4 train, 1 val, 1 test), 2 classes"


def test_batch_is_taken_at_once(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    split = load([clip(f"{i}.wav", "ab"[i % 2], frequency=300 + 200 * i) for i in range(4)], transform).splits["train"]
    batch = split.__getitems__([(3, 0.5), (0, 0.5)])
    assert len(split) == 4
    assert torch.equal(batch.spec, specs(split)[[3, 0]])
    assert batch.label.tolist() == [1, 0]
    assert batch.label.dtype == torch.int64


@pytest.mark.parametrize(
    ("label_order", "expected"),
    [
        ((), ["2", "10", "Zebra", "apple", "nine"]),
        (("nine", "missing", "10"), ["nine", "10", "2", "Zebra", "apple"]),
    ],
)
def test_class_names_follow_the_given_order_then_numbers_then_words(
    clip: Callable[..., AudioItem], transform: LogMel, label_order: tuple[str, ...], expected: list[str]
) -> None:
    names = ("10", "nine", "apple", "2", "Zebra")
    clips = [clip(f"{name}{i}.wav", name) for i in range(2) for name in names]
    loaded = load(clips, transform, label_order=label_order)
    assert loaded.label_names == expected
    assert [expected[i] for i in loaded.splits["train"].label.tolist()] == [*names, *names]


def test_unlabelled_data_have_no_classes_and_label_zero(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    loaded = load([clip(f"{i}.wav", None) for i in range(3)], transform)
    assert loaded.label_names == []
    assert loaded.splits["train"].label.tolist() == [0, 0, 0]
    assert loaded.summary() == "Data: 3 of 3 files used (3 train), no classes"


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


def test_long_lists_of_bad_files_are_cut_and_counted(
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
    assert ("its class has less than two clips to train on", lonely) in loaded.rejected
    assert f"{lonely.path}: its class has less than two clips to train on" in loaded.summary()


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
    assert loaded.left_out() == f"{unseen.path}: its class has less than two clips to train on\n"


def test_same_sound_is_one_clip_and_a_conflict_of_classes_is_told(
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
def test_same_samples_in_another_file_are_never_in_two_splits_or_classes(
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
    assert first in loaded.clips


def test_sounds_that_differ_in_one_sample_or_in_rate_are_two(transform: LogMel, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal(3000) / 9
    changed = samples.copy()
    changed[-1] += 0.01
    paths = [write_samples(tmp_path / f"{index}.wav", each) for index, each in enumerate((samples, changed))]
    soundfile.write(tmp_path / "2.wav", samples, 8001, subtype="FLOAT")
    clips = [AudioItem(path, "a", "train") for path in [*paths, tmp_path / "2.wav"]]
    assert load(clips, transform).rejected == []


def test_files_shorter_than_a_clip_are_counted(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    clips = [clip(f"{index}.wav", seconds=seconds) for index, seconds in enumerate((0.1, 0.15, 0.25, 0.5))]
    loaded = load([*clips, clip("short.wav", seconds=0.01)], transform)
    assert len(loaded.rejected) == 1
    assert loaded.num_padded() == 2


def test_sound_that_is_in_two_exclusive_classes_is_in_neither(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    first, other = (clip(f"{name}.wav", label, frequency=500) for name, label in ("0a", "1b"))
    rest = [clip(f"{name}.wav", label) for name, label in ("2a", "3a", "4b", "5b")]
    loaded = load([first, other, *rest], transform, exclusive=True)
    assert loaded.rejected == [
        (f"in two classes (the same sound as {other.path} of b)", first),
        (f"in two classes (the same sound as {first.path} of a)", other),
    ]


def test_clip_of_two_classes_is_in_both_where_that_is_meant(clip: Callable[..., AudioItem], transform: LogMel) -> None:
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


def test_file_listed_for_two_splits_is_told_apart_from_a_duplicate(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    first = clip("0.wav")
    again = AudioItem(first.path, "a", "val")
    assert load([first, again, clip("1.wav")], transform).rejected == [("listed twice (as train and val)", again)]


def test_data_that_are_only_tested_on_need_nothing_to_train_on(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    loaded = load([clip("0.wav", "a", "test"), clip("1.wav", "b", "test")], transform)
    assert loaded.label_names == ["a", "b"]
    assert not loaded.rejected


@pytest.mark.parametrize("crop", ["start", "center"])
def test_clip_without_sound_is_left_out_though_its_file_has_some(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path, crop: str
) -> None:
    samples = np.sin(np.arange(24000)) / 2
    samples[:20000] = 0
    late = AudioItem(write_samples(tmp_path / "late.wav", samples), "a", "train")
    loaded = load([late, clip("0.wav"), clip("1.wav")], transform, crop=crop)
    assert loaded.rejected == [(f"silent (of the {crop} that is taken, every sample is the same)", late)]


def test_error_of_a_step_names_the_file(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    class Fails(PreprocessStep):
        def __call__(self, wav: torch.Tensor, sample_rate: int) -> torch.Tensor:
            raise RuntimeError("no idea")

    with pytest.raises(DatasetError, match=r"0\.wav: RuntimeError: no idea"):
        load([clip("0.wav"), clip("1.wav")], transform, steps=(Fails(),))


def test_step_that_makes_nan_leaves_the_clip_out(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    class Root(PreprocessStep):
        def __call__(self, wav: torch.Tensor, sample_rate: int) -> torch.Tensor:
            return wav.sqrt()

    with pytest.raises(DatasetError, match=r"0\.wav: Root: not finite \(it made NaN or Inf samples\)"):
        load([clip("0.wav"), clip("1.wav")], transform, steps=(Root(),))


def test_pairs_stay_whole_and_need_nothing_to_train_on(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path
) -> None:
    style = clip("style.wav").path
    pairs = [
        AudioItem(path, label, "test", pair)
        for pair, content in enumerate([clip("0.wav").path, tmp_path / "missing.wav", clip("2.wav").path])
        for path, label in ((content, "content"), (style, "style"))
    ]
    loaded = load(pairs, transform, label_order=("content", "style"))
    assert loaded.clips == [*pairs[:2], *pairs[4:]]
    assert [listed for _, listed in loaded.rejected] == pairs[2:4]
    assert loaded.rejected[1][0] == "the other sound of its pair cannot be used"
    assert loaded.splits["test"].label.tolist() == [0, 1, 0, 1]


def test_random_crops_see_all_of_a_clip_and_a_fixed_one_is_repeatable(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
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
def test_random_crops_of_a_word_before_long_silence_all_have_sound(name: str, tmp_path: Path) -> None:
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
    assert len(found) > 100  # in all places with sound, not in one
    assert min(found) < 130
    assert max(found) > 600
    assert "of the places where a random crop could begin are silent" in str(report(loaded, Pipeline(transform)))
    assert split.take([0]).std() > 0


def _stored(spec: torch.Tensor) -> np.ndarray:
    return (spec * 32767).round().to(torch.int16).permute(0, 3, 1, 2).numpy()


@pytest.mark.parametrize(("crop", "start"), [("start", 0), ("center", 1232)])
def test_sound_longer_than_a_clip_is_cut_where_asked(
    clip: Callable[..., AudioItem], transform: LogMel, crop: str, start: int
) -> None:
    clips = [clip(f"{i}.wav", seconds=0.5, sample_rate=8000) for i in range(2)]  # 4000 samples, a clip has 1536
    spec = load(clips, transform, crop=crop).splits["train"].take([0])
    wav = read_audio(clips[0].path, 8000)[:, start : start + transform.num_samples]
    torch.testing.assert_close(spec, transform(wav[None]), rtol=0, atol=STEP)


def test_long_file_is_divided_into_clips_where_crops_are_random(
    clip: Callable[..., AudioItem], transform: LogMel
) -> None:
    long, short = clip("0.wav", seconds=5.1), clip("1.wav", seconds=0.5)
    split = load([long, short], transform, crop="random", segment_seconds=1).splits["train"]
    assert split.store.file[split.segment].tolist() == [0, 0, 0, 0, 0, 1]  # the last 0.1 s is shorter than a clip
    assert split.store.num_frames.tolist() == [125] * 5 + [63]


def test_silent_stretch_of_a_long_file_is_passed_over(
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
    rising = 0.5 * np.sin(2 * np.pi * (300 + 200 * time) * time)  # 300 to 3370 Hz: the pitch tells the time
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
        ({"crop": "middle"}, "crop must be start, center, random, got 'middle'"),
        ({"segment_seconds": 0.1}, r"segment_seconds must be at least a clip, 0.19 s, got 0.1"),
    ],
)
def test_options_out_of_range_are_refused(transform: LogMel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(transform, **options)
