"""Load files as clips with labels and splits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from audiogen.audio.io import read_audio
from audiogen.audio.length import fit_length
from audiogen.data.datasets.dataset import AudioItem
from audiogen.transforms.mel import LogMel
from tests.data.tiny_sets import STEP, load, specs


def test_spectrograms_equal_those_of_each_file_alone(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    clips = [clip(f"{i}.wav", frequency=300 + 200 * i, seconds=0.1 + 0.1 * i) for i in range(4)]  # shorter and longer
    loaded = specs(load(clips, transform).splits["train"])
    for spec, listed in zip(loaded, clips, strict=True):
        wav = fit_length(read_audio(listed.path, 8000), transform.num_samples)
        torch.testing.assert_close(spec, transform(wav[None])[0], rtol=0, atol=STEP)
    assert loaded[0, :, :, -5:].max() == -1  # the padding is silence


def test_all_formats_rates_and_channel_counts_load_alike(clip: Callable[..., AudioItem], transform: LogMel) -> None:
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


def test_batch_is_read_at_once(clip: Callable[..., AudioItem], transform: LogMel) -> None:
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


def test_files_shorter_than_a_clip_are_counted(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    clips = [clip(f"{index}.wav", seconds=seconds) for index, seconds in enumerate((0.1, 0.15, 0.25, 0.5))]
    loaded = load([*clips, clip("short.wav", seconds=0.01)], transform)
    assert len(loaded.rejected) == 1
    assert loaded.num_padded() == 2


def test_data_with_only_a_test_split_are_accepted(clip: Callable[..., AudioItem], transform: LogMel) -> None:
    loaded = load([clip("0.wav", "a", "test"), clip("1.wav", "b", "test")], transform)
    assert loaded.label_names == ["a", "b"]
    assert not loaded.rejected


def test_pairs_stay_complete_and_need_no_training_clips(
    clip: Callable[..., AudioItem], transform: LogMel, tmp_path: Path
) -> None:
    style = clip("style.wav").path
    pairs = [
        AudioItem(path, label, "test", pair)
        for pair, content in enumerate([clip("0.wav").path, tmp_path / "missing.wav", clip("2.wav").path])
        for path, label in ((content, "content"), (style, "style"))
    ]
    loaded = load(pairs, transform, label_order=("content", "style"))
    assert loaded.items == [*pairs[:2], *pairs[4:]]
    assert [listed for _, listed in loaded.rejected] == pairs[2:4]
    assert loaded.rejected[1][0] == "the other sound of its pair cannot be used"
    assert loaded.splits["test"].label.tolist() == [0, 1, 0, 1]
