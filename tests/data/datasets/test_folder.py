"""Folders of sounds: classes, splits, and layouts that are refused."""

from collections import Counter
from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import AudioItem, DatasetError
from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.datasets.fsdd import FSDD


def touch(folder: Path, *names: str) -> Path:
    """Make empty files: scanning does not open them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def labels(clips: list[AudioItem], root: Path) -> dict[str, str | None]:
    return {clip.path.relative_to(root).as_posix(): clip.label for clip in clips}


def test_first_level_names_the_class_at_any_depth(tmp_path: Path) -> None:
    root = touch(tmp_path, "cat/a.wav", "cat/deep/er/b.FLAC", "dog/c.mp3", "dog/d.ogg", "dog/e.opus", "dog/f.aif")
    found = labels(list(ClassFolders().scan(root)), root)
    assert found == {
        "cat/a.wav": "cat",
        "cat/deep/er/b.FLAC": "cat",
        **dict.fromkeys(["dog/c.mp3", "dog/d.ogg", "dog/e.opus", "dog/f.aif"], "dog"),
    }


def test_class_folder_that_is_a_link_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "root/cat/a.wav", "elsewhere/b.wav")
    (tmp_path / "root" / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    found = labels(list(ClassFolders().scan(tmp_path / "root")), tmp_path / "root")
    assert found == {"cat/a.wav": "cat", "dog/b.wav": "dog"}


def test_files_without_folders_have_no_class(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.wav", "b.wav")
    assert labels(list(ClassFolders().scan(root)), root) == {"a.wav": None, "b.wav": None}


def test_other_files_hidden_files_and_hidden_folders_are_not_listed(tmp_path: Path) -> None:
    root = touch(tmp_path, "cat/a.wav", "cat/notes.txt", "cat/._b.wav", ".cache/c.wav", "readme.md", "wav")
    (root / "cat" / "folder.wav").mkdir()
    assert labels(list(ClassFolders().scan(root)), root) == {"cat/a.wav": "cat"}


def test_sounds_that_cannot_be_read_are_listed_and_other_files_are_counted(tmp_path: Path) -> None:
    sounds = ["a.m4a", "b.mp4", "c.webm", "d.oga", "e.au", "f.caf", "g.wma", "h.AU"]
    root = touch(tmp_path, *(f"cat/{name}" for name in sounds), "cat/notes.txt", "x.xyz", "y.xyz", "LICENSE", ".hidden")
    data = ClassFolders(0)
    assert sorted(labels(list(data.scan(root)), root)) == sorted(f"cat/{name}" for name in sounds)
    assert data.notes == ["4 files without an audio suffix ignored: 2 .xyz, 1 without a suffix, 1 .txt"]
    with pytest.raises(DatasetError, match=r"no sound files .* in .*dog, only 1 \.raw files"):
        ClassFolders().scan(touch(tmp_path / "dog", "a.raw"))


def test_sounds_beside_class_folders_are_refused_naming_one(tmp_path: Path) -> None:
    root = touch(tmp_path, "cat/a.wav", "stray.wav", "zebra.wav")
    with pytest.raises(DatasetError, match=r"sounds in sub-folders and 2 sounds beside them, such as stray\.wav"):
        ClassFolders().scan(root)


def test_folder_without_sounds_is_refused_listing_the_formats(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no sound files \(.*\.flac, .*\.wav.*\) in .*nothing, only 1 \.txt"):
        ClassFolders().scan(touch(tmp_path / "nothing", "notes.txt"))


def test_missing_folder_is_refused_naming_the_flag(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist \(--data\.root\)"):
        ClassFolders().scan(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"name it with --data\.root"):
        ClassFolders().scan(None)


def splits(root: Path, val_fraction: float = 0) -> dict[str, tuple[str | None, str]]:
    """Return class and split of each sound by its path below the folder."""
    found = ClassFolders(val_fraction).scan(root)
    return {clip.path.relative_to(root).as_posix(): (clip.label, clip.split) for clip in found}


@pytest.mark.parametrize(
    "names",
    [("train", "valid", "test"), ("Training", "validation", "TESTING"), ("train", "dev", "eval")],
)
def test_folders_named_as_splits_are_splits_and_the_classes_are_below(tmp_path: Path, names: tuple[str, ...]) -> None:
    train, val, test = names
    root = touch(tmp_path, *(f"{name}/{label}/x/{i}.wav" for name in names for label in ("a", "b") for i in range(3)))
    expected = {train: "train", val: "val", test: "test"}
    found = splits(root, 0.34)
    assert found == {path: (path.split("/")[1], expected[path.split("/")[0]]) for path in found}
    assert len(found) == 18


def test_folders_of_splits_are_reported(tmp_path: Path) -> None:
    data = ClassFolders(0.5)
    data.scan(touch(tmp_path / "all", "train/a.wav", "train/b.wav", "val/c.wav", "test/d.wav"))
    assert data.notes == ["Sub-folders named after splits are read as splits, not as classes: train, val, test"]
    data.scan(touch(tmp_path / "two", *(f"{name}/{i}.wav" for name in ("train", "test") for i in range(4))))
    (note,) = data.notes
    assert note.endswith("not as classes: train, test; 2 files of train are used for validation")
    data.scan(touch(tmp_path / "classes", "cat/a.wav", "cat/b.wav"))
    assert data.notes == []


def test_without_a_validation_folder_only_a_fraction_of_train_is_used(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{name}/cat/{i}.wav" for name in ("train", "test") for i in range(4)))
    counts = Counter((path.split("/")[0], split) for path, (_, split) in splits(root, 0.5).items())
    assert counts == {("train", "train"): 2, ("train", "val"): 2, ("test", "test"): 4}


def test_splits_without_classes(tmp_path: Path) -> None:
    assert splits(touch(tmp_path, "train/a.wav", "train/b.wav", "test/c.wav")) == {
        "train/a.wav": (None, "train"),
        "train/b.wav": (None, "train"),
        "test/c.wav": (None, "test"),
    }


def test_splits_within_each_class(tmp_path: Path) -> None:
    assert splits(touch(tmp_path, "cat/train/a.wav", "cat/test/b.wav", "dog/c.wav", "dog/d.wav")) == {
        "cat/train/a.wav": ("cat", "train"),
        "cat/test/b.wav": ("cat", "test"),
        "dog/c.wav": ("dog", "train"),
        "dog/d.wav": ("dog", "train"),
    }


def test_class_named_like_a_split_stays_a_class_beside_others(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/a.wav", "train/b.wav", "plane/c.wav", "plane/d.wav")
    assert {label for label, _ in splits(root).values()} == {"train", "plane"}


@pytest.mark.parametrize("beside", ["extra/c.wav", "c.wav"])
def test_other_folders_beside_several_splits_are_refused(tmp_path: Path, beside: str) -> None:
    with pytest.raises(DatasetError, match=r"folders of splits \(test, train\) and also (extra|sounds)"):
        ClassFolders().scan(touch(tmp_path, "train/a.wav", "test/b.wav", beside))


def test_single_files_are_recordings_whose_ends_are_for_validation(tmp_path: Path) -> None:
    data = ClassFolders(0.25)
    root = touch(tmp_path, "cat/a.wav", "dog/b.wav")
    expected = [
        (name, label, *rest)
        for name, label in (("cat/a.wav", "cat"), ("dog/b.wav", "dog"))
        for rest in (("train", (0.0, 0.75)), ("val", (0.75, 1.0)))
    ]
    found = [(c.path.relative_to(root).as_posix(), c.label, c.split, c.span) for c in data.scan(root)]
    assert found == expected
    assert "the last 25% of the time is used for validation" in data.notes[0]
    (clip,) = ClassFolders(0).scan(root / "cat" / "a.wav")
    assert clip == AudioItem(root / "cat" / "a.wav", None, "train", span=(0.0, 1.0))


def test_other_data_sets_refuse_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.wav") / "a.wav"
    with pytest.raises(DatasetError, match=r"a\.wav is a file: name the folder it is in \(--data\.root\)"):
        FSDD().scan(root)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder with two classes of 40 and 20 files."""
    return touch(tmp_path, *(f"cat/{i}.wav" for i in range(40)), *(f"dog/{i}.wav" for i in range(20)))


@pytest.mark.parametrize("val_fraction", [0, 0.1, 0.25])
def test_the_same_fraction_of_each_class_is_used_for_validation(many: Path, val_fraction: float) -> None:
    counts = Counter((clip.label, clip.split) for clip in ClassFolders(val_fraction).scan(many))
    assert (counts["cat", "val"], counts["dog", "val"]) == (40 * val_fraction, 20 * val_fraction)
    assert counts.total() == 60
    assert {split for _, split in counts} <= {"train", "val"}


def test_splits_do_not_depend_on_the_location_of_the_folder(many: Path) -> None:
    before = splits(many, 0.1)
    moved = many.rename(many.with_name("moved"))
    assert splits(moved, 0.1) == before


def test_adding_a_file_moves_at_most_one_other(many: Path) -> None:
    before = {clip.path: clip.split for clip in ClassFolders(0.25).scan(many)}
    touch(many, "cat/new.wav")
    after = {clip.path: clip.split for clip in ClassFolders(0.25).scan(many)}
    assert sum(after[path] != split for path, split in before.items()) <= 1


@pytest.mark.parametrize("val_fraction", [-0.1, 1.0])
def test_fraction_out_of_range_is_refused(val_fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"val_fraction must be in \[0, 1\), got {val_fraction}"):
        ClassFolders(val_fraction)
