"""The Free Spoken Digit Dataset: labels and the official split come from file names."""

import os
from collections import Counter
from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.datasets.fsdd import DIGITS, FSDD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three digits, two speakers and takes around the official border."""
    for digit in (0, 7, 9):
        for speaker in ("george", "yweweler"):
            for take in (0, 4, 5, 12, 13, 49):
                (tmp_path / f"{digit}_{speaker}_{take}.wav").touch()
    return tmp_path


def test_class_is_the_digit_in_words(folder: Path) -> None:
    labels = {clip.path.name[0]: clip.label for clip in FSDD().scan(folder)}
    assert labels == {"0": "zero", "7": "seven", "9": "nine"}


def test_class_can_be_the_speaker(folder: Path) -> None:
    counts = Counter((clip.label, clip.path.name.split("_")[1]) for clip in FSDD(label="speaker").scan(folder))
    assert counts == {("george", "george"): 18, ("yweweler", "yweweler"): 18}


def test_speakers_can_be_chosen_and_ordered(folder: Path) -> None:
    data = FSDD(label="speaker", speakers=["yweweler", "george"])
    assert data.label_order == ("yweweler", "george")
    assert len(data.scan(folder)) == 36
    assert {clip.label for clip in FSDD(label="speaker", speakers=["george"]).scan(folder)} == {"george"}
    assert len(FSDD(speakers=["george"]).scan(folder)) == 18


def test_unknown_speaker_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"no speaker anna in .*, only george, yweweler"):
        FSDD(label="speaker", speakers=["george", "anna"]).scan(folder)


def test_takes_below_five_are_the_test_set_and_the_next_eight_for_validation(folder: Path) -> None:
    split_of = {clip.path.stem.split("_")[2]: clip.split for clip in FSDD().scan(folder)}
    assert split_of == {"0": "test", "4": "test", "5": "val", "12": "val", "13": "train", "49": "train"}


def test_all_of_the_official_training_set_can_be_trained_on(folder: Path) -> None:
    assert Counter(clip.split for clip in FSDD(val_takes=0).scan(folder)) == {"test": 12, "train": 24}


@pytest.mark.parametrize("val_takes", [-1, 45])
def test_number_of_takes_out_of_range_is_refused(val_takes: int) -> None:
    with pytest.raises(ValueError, match=rf"val_takes must be in \[0, 45\), got {val_takes}"):
        FSDD(val_takes=val_takes)


def test_digits_are_ordered_as_numbers_not_as_words() -> None:
    assert FSDD().label_order == DIGITS
    assert [DIGITS.index(name) for name in ("zero", "one", "five", "nine")] == [0, 1, 5, 9]


def test_recordings_folder_of_the_repository_is_found(folder: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    names = sorted(path.name for path in folder.iterdir())
    recordings.mkdir()
    for name in names:
        (folder / name).rename(recordings / name)
    assert [clip.path.name for clip in FSDD().scan(tmp_path)] == names


def test_files_named_otherwise_are_left_out(folder: Path) -> None:
    for name in ("10_george_0.wav", "x_george_0.wav", "3_george.wav", "3_george_1.txt", "3_george_1_copy.wav"):
        (folder / name).touch()
    assert len(FSDD().scan(folder)) == 36


def test_folder_without_fsdd_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hello.wav").touch()
    with pytest.raises(DatasetError, match=r"no files named \{digit\}_\{speaker\}_\{take\}\.wav in .*: is this FSDD\?"):
        FSDD().scan(tmp_path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        FSDD().scan(tmp_path / "nowhere")


@pytest.mark.skipif("AUDIOGEN_FSDD" not in os.environ, reason="set AUDIOGEN_FSDD to the folder of the real data set")
def test_real_data_has_the_official_counts() -> None:
    clips = FSDD().scan(Path(os.environ["AUDIOGEN_FSDD"]))
    assert Counter(clip.split for clip in clips) == {"train": 2220, "val": 480, "test": 300}
    assert Counter(clip.label for clip in clips) == dict.fromkeys(DIGITS, 300)
    assert len({clip.label for clip in FSDD(label="speaker").scan(Path(os.environ["AUDIOGEN_FSDD"]))}) == 6
