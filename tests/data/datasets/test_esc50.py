"""ESC-50: classes and folds come from its table."""

import os
from collections import Counter
from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.datasets.esc50 import ESC50

HEADER = "filename,fold,target,category,esc10,src_file,take"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in the layout of the repository: a class of ESC-10 and another one in each fold."""
    (tmp_path / "audio").mkdir()
    rows = [HEADER]
    for fold in range(1, 6):
        rows.append(f"{fold}-100032-A-0.wav,{fold},0,dog,True,100032,A")
        rows.append(f"{fold}-11687-A-47.wav,{fold},47,airplane,False,11687,A")
    for row in rows[1:]:
        (tmp_path / "audio" / row.split(",")[0]).touch()
    return write_table(tmp_path, rows)


def write_table(folder: Path, rows: list[str]) -> Path:
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_class_is_the_category_and_the_first_fold_is_for_validation(folder: Path) -> None:
    clips = ESC50().scan(folder)
    assert all(clip.path.is_file() for clip in clips)
    assert Counter((clip.path.stem[-2:], clip.label) for clip in clips) == {("-0", "dog"): 5, ("47", "airplane"): 5}
    assert {(clip.path.name[0], clip.split) for clip in clips} == {("1", "val")} | {(fold, "train") for fold in "2345"}


def test_folds_can_be_chosen(folder: Path) -> None:
    splits = {(clip.path.name[0], clip.split) for clip in ESC50(val_fold=4, test_fold=5).scan(folder)}
    assert splits == {("1", "train"), ("2", "train"), ("3", "train"), ("4", "val"), ("5", "test")}


def test_esc10_is_a_subset(folder: Path) -> None:
    assert [clip.label for clip in ESC50(esc10=True).scan(folder)] == ["dog"] * 5


def test_missing_file_is_still_listed(folder: Path) -> None:
    (folder / "audio" / "3-100032-A-0.wav").unlink()
    assert folder / "audio" / "3-100032-A-0.wav" in [clip.path for clip in ESC50().scan(folder)]


@pytest.mark.parametrize(("val_fold", "test_fold"), [(0, None), (6, None), (1, 1), (1, 0), (1, 6)])
def test_invalid_or_equal_folds_are_refused(val_fold: int, test_fold: int | None) -> None:
    message = f"expected different val_fold and test_fold from 1 to 5, got {val_fold} and {test_fold}"
    with pytest.raises(ValueError, match=message):
        ESC50(val_fold, test_fold)


def test_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected meta/esc50\.csv in "):
        ESC50().scan(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["filename,fold,category"], "lacks the columns esc10: it has filename, fold, category"),
        ([HEADER], "lists no clips$"),
        ([HEADER, "a.wav,1,0,dog,True,1,A", "b.wav,6,0,dog,True,1,A"], r"line 3: expected a fold from 1 to 5, got '6'"),
        (
            [HEADER, "../a.wav,1,0,dog,True,1,A"],
            r"line 2: expected a filename in the folder of the data set, got '\.\./a\.wav'",
        ),
        (
            [HEADER, "/etc/a.wav,1,0,dog,True,1,A"],
            "line 2: expected a filename in the folder of the data set, got '/etc/a.wav'",
        ),
        ([HEADER, "a.wav,1,0,../dog,True,1,A"], "line 2: expected a label without / in it"),
        ([HEADER, "a.wav"], r"line 2: expected a fold from 1 to 5, got ''"),
    ],
)
def test_broken_table_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        ESC50().scan(write_table(tmp_path, rows))


def test_empty_subset_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, [HEADER, "a.wav,1,47,airplane,False,1,A"])
    with pytest.raises(DatasetError, match="lists no clips of ESC-10"):
        ESC50(esc10=True).scan(tmp_path)


@pytest.mark.skipif("AUDIOGEN_ESC50" not in os.environ, reason="set AUDIOGEN_ESC50 to the folder of the real data set")
def test_real_data_have_the_official_counts() -> None:
    clips = ESC50().scan(Path(os.environ["AUDIOGEN_ESC50"]))
    assert Counter(clip.split for clip in clips) == {"train": 1600, "val": 400}
    assert sorted(Counter(clip.label for clip in clips).values()) == [40] * 50
