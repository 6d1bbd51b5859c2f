"""Folders of sounds: classes, splits, and layouts that are refused."""

from collections import Counter
from pathlib import Path

import pytest

from audiogen.data.dataset import Clip, DatasetError
from audiogen.data.folder import ClassFolders


def touch(folder: Path, *names: str) -> Path:
    """Make empty files: scanning does not open them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def labels(clips: list[Clip], root: Path) -> dict[str, str | None]:
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


def test_sounds_beside_class_folders_are_refused_naming_one(tmp_path: Path) -> None:
    root = touch(tmp_path, "cat/a.wav", "stray.wav", "zebra.wav")
    with pytest.raises(DatasetError, match=r"sounds in sub-folders and 2 beside them, such as stray\.wav"):
        ClassFolders().scan(root)


def test_folder_without_sounds_is_refused_listing_the_formats(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no sound files \(.*\.flac, .*\.wav\) in .*nothing"):
        ClassFolders().scan(touch(tmp_path / "nothing", "notes.txt"))


def test_missing_folder_is_refused_naming_the_flag(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist \(--data\.root\)"):
        ClassFolders().scan(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"name it with --data\.root"):
        ClassFolders().scan(None)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder with two classes of 40 and 20 files."""
    return touch(tmp_path, *(f"cat/{i}.wav" for i in range(40)), *(f"dog/{i}.wav" for i in range(20)))


@pytest.mark.parametrize("val_share", [0, 0.1, 0.25])
def test_each_class_gives_its_share_to_validation(many: Path, val_share: float) -> None:
    counts = Counter((clip.label, clip.split) for clip in ClassFolders(val_share).scan(many))
    assert (counts["cat", "val"], counts["dog", "val"]) == (40 * val_share, 20 * val_share)
    assert counts.total() == 60
    assert {split for _, split in counts} <= {"train", "val"}


def test_splits_do_not_depend_on_where_the_folder_lies(many: Path) -> None:
    def splits(root: Path) -> list[tuple[str, str]]:
        return [(clip.path.relative_to(root).as_posix(), clip.split) for clip in ClassFolders().scan(root)]

    before = splits(many)
    moved = many.rename(many.with_name("moved"))
    assert splits(moved) == before


def test_adding_a_file_moves_at_most_one_other(many: Path) -> None:
    before = {clip.path: clip.split for clip in ClassFolders(0.25).scan(many)}
    touch(many, "cat/new.wav")
    after = {clip.path: clip.split for clip in ClassFolders(0.25).scan(many)}
    assert sum(after[path] != split for path, split in before.items()) <= 1


@pytest.mark.parametrize("val_share", [-0.1, 1.0])
def test_share_out_of_range_is_refused(val_share: float) -> None:
    with pytest.raises(ValueError, match=rf"val_share must be in \[0, 1\), got {val_share}"):
        ClassFolders(val_share)
