"""Two domains: their order and names, and folders that are refused."""

from collections import Counter
from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import AudioItem, DatasetError
from audiogen.data.datasets.domains import Domains
from audiogen.data.datasets.folder import ClassFolders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with 20 sounds of a violin at some depth, and 10 of a flute."""
    for i in range(20):
        path = tmp_path / "violin" / f"take{i % 3}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "flute").mkdir()
    for i in range(10):
        (tmp_path / "flute" / f"{i}.FLAC").touch()
    (tmp_path / "flute" / ".hidden.wav").touch()
    (tmp_path / "flute" / "notes.txt").touch()
    return tmp_path


def test_first_domain_has_the_first_class(folder: Path) -> None:
    data = Domains("violin", "flute")
    assert data.label_order == ("violin", "flute")
    clips = data.scan(folder)
    assert Counter((clip.label, clip.split) for clip in clips) == {
        ("violin", "train"): 18,
        ("violin", "val"): 2,
        ("flute", "train"): 9,
        ("flute", "val"): 1,
    }
    assert all(clip.label in clip.path.parts for clip in clips)


def test_splits_equal_those_of_the_same_files_read_as_classes(folder: Path) -> None:
    """The hash covers the path below the domain only, so neighbouring files do not matter."""
    alone = {clip.path: clip.split for clip in ClassFolders(0.3).scan(folder / "flute")}
    both = {clip.path: clip.split for clip in Domains("flute", "violin", 0.3).scan(folder)}
    assert alone.items() <= both.items()
    assert list(alone.values()).count("val") == 3


def test_folders_of_splits_within_a_domain_are_splits(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / "viola" / split).mkdir(parents=True)
        (folder / "viola" / split / "a.wav").touch()
    data = Domains("viola", "flute", val_fraction=0)
    found = data.scan(folder)
    assert [(clip.path.parent.name, clip.split) for clip in found if clip.label == "viola"] == [
        ("test", "test"),
        ("train", "train"),
    ]
    assert data.notes[1:] == ["1 files without an audio suffix ignored: 1 .txt"]
    assert data.notes[0].startswith("Sub-folders named after splits are read as splits")


def test_two_recordings_are_two_domains(folder: Path) -> None:
    names = ("violin/take0/0.wav", "flute/0.FLAC")
    found = Domains(*names).scan(folder)
    assert [(clip.label, clip.split, clip.span) for clip in found] == [
        (label, split, span)
        for label in ("0.wav", "0.FLAC")
        for split, span in (("train", (0.0, 0.9)), ("val", (0.9, 1.0)))
    ]


def test_folders_may_be_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(Domains("violin", "flute").scan(folder))
    assert list(Domains(str(folder / "violin"), str(folder / "flute")).scan(Path("elsewhere"))) == expected
    monkeypatch.setenv("HOME", str(folder))
    assert list(Domains("~/violin", "flute").scan(folder)) == expected


def test_without_root_folders_are_relative_to_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    clips = Domains("violin", "flute").scan(None)
    assert AudioItem(Path("flute/0.FLAC"), "flute", "train") in clips
    assert len(clips) == 30


def test_folders_of_the_same_name_are_called_a_and_b(folder: Path) -> None:
    for name in ("mary", "john"):
        (folder / name / "wav").mkdir(parents=True)
        (folder / name / "wav" / "0.wav").touch()
    data = Domains("mary/wav", "john/wav")
    assert data.label_order == ("a", "b")
    found = {(clip.path.parent.parent.name, clip.label) for clip in data.scan(folder)}
    assert found == {("mary", "a"), ("john", "b")}


@pytest.mark.parametrize(("a", "b"), [("violin", "violin"), ("violin", "."), ("violin/take0", "violin")])
def test_folders_that_share_sounds_are_refused(folder: Path, a: str, b: str) -> None:
    with pytest.raises(DatasetError, match="expected two separate folders, got "):
        Domains(a, b).scan(folder)


def test_missing_and_empty_folders_are_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"folder .*cello of a domain does not exist"):
        Domains("violin", "cello").scan(folder)
    (folder / "cello").mkdir()
    with pytest.raises(DatasetError, match=r"no sound files \(.*\) in .*cello"):
        Domains("violin", "cello").scan(folder)


def test_fraction_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"val_fraction must be in \[0, 1\), got 1"):
        Domains("a", "b", val_fraction=1)
