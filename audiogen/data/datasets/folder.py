"""Read any folder of sounds, with one sub-folder per class or without classes."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from audiogen.audio.formats import READ_SUFFIXES, SOUND_SUFFIXES
from audiogen.data.datasets.dataset import SPLIT_NAMES, AudioDataset, AudioItem, DatasetError, Split, existing_folder
from audiogen.untrusted import is_regular


class ClassFolders(AudioDataset):
    """List all audio files below a folder. The first level of sub-folders names the classes.

    If all files are directly in the folder, the data set has no classes. Files beside sub-folders that contain sounds
    are refused, because their class is unknown.

    Sub-folders with the usual names of splits (train, valid, test, ...), either above or inside the class folders, are
    read as splits, not as classes. If every class is a single file, or the folder is itself an audio file, the files
    are treated as recordings: they are cut into clips, and the end of each is used for validation.

    Args:
        val_fraction: Fraction of each class used for validation, in [0, 1), if no folder is named as a validation
            split. Files are chosen by a hash of their path below the folder.
    """

    def __init__(self, val_fraction: float = 0.1) -> None:
        self.val_fraction = checked_fraction(val_fraction)

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List audio files at any depth."""
        if root is not None and root.is_file():
            self.notes = [cut_note(self.val_fraction)]
            return recording(None, root, self.val_fraction)
        folder = existing_folder(root)
        found = find_sounds(folder)
        splits = split_folders(found, folder)
        level = 1 if splits else 0
        classes: dict[str | None, list[Path]] = defaultdict(list)
        for path in found:
            folders = path.relative_to(folder).parts[level:-1]
            classes[folders[0] if folders else None].append(path)
        if None in classes and len(classes) > 1:
            raise DatasetError(
                f"{folder} has sounds in sub-folders and {len(classes[None])} sounds beside them, such as "
                f"{classes[None][0].name}: move these into a class folder"
            )
        if not splits:
            for label, paths in classes.items():
                splits |= split_folders(paths, folder / (label or ""))
        self.notes = other_files_notes(folder)
        if not splits and all(len(paths) == 1 for paths in classes.values()):
            self.notes.insert(0, cut_note(self.val_fraction))
            return [item for label, paths in classes.items() for item in recording(label, paths[0], self.val_fraction)]
        items = [
            item
            for label, paths in classes.items()
            for item in items_of_class(label, paths, folder, self.val_fraction, splits)
        ]
        self.notes = split_notes(splits, items) + self.notes
        return items


def checked_fraction(val_fraction: float) -> float:
    """Return `val_fraction` if it is a fraction that leaves something to train on.

    Raises:
        ValueError: If it is not in [0, 1).
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be in [0, 1), got {val_fraction}")
    return val_fraction


def find_sounds(folder: Path) -> list[Path]:
    """List the audio files at any depth below a folder, sorted. Hidden files and folders are skipped.

    Files in formats that cannot be read are listed too, so that reading them reports the reason.

    Raises:
        DatasetError: If there are no audio files.
    """
    paths, others = _listed(folder)
    if not paths:
        there = f", only {_counted(others)} files" if others else ""
        raise DatasetError(f"no sound files ({', '.join(sorted(READ_SUFFIXES))}) in {folder}{there}")
    return paths


def other_files_notes(folder: Path) -> list[str]:
    """Return a note that counts the files below a folder whose suffix is not an audio suffix."""
    others = _listed(folder)[1]
    return [f"{others.total()} files without an audio suffix ignored: {_counted(others)}"] if others else []


def _counted(others: "Counter[str]") -> str:
    return ", ".join(f"{num} {suffix or 'without a suffix'}" for suffix, num in others.most_common(10))


def _listed(folder: Path) -> "tuple[list[Path], Counter[str]]":
    """Return the audio files below a folder, and the number of other files by suffix."""
    paths, others = [], Counter[str]()
    for path in sorted(files_below(folder)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.exists() and not is_regular(path):  # such as a pipe; broken links are reported when they are read
            continue
        if path.suffix.lower() in SOUND_SUFFIXES:
            paths.append(path)
        else:
            others[path.suffix.lower()] += 1
    return paths, others


def split_folders(paths: Sequence[Path], folder: Path) -> dict[Path, Split]:
    """Return the split of each sound if the sub-folders of a folder are splits, and {} otherwise.

    Sub-folders are splits if all of them have usual names of splits (train, valid, test, ...) and name either several
    splits or only train.

    Args:
        paths: Sounds below `folder`.
        folder: Folder to examine.

    Raises:
        DatasetError: If folders of several splits are mixed with other folders or sounds.
    """
    names = {path: path.relative_to(folder).parts[0] if path.parent != folder else "" for path in paths}
    found = {name: SPLIT_NAMES[name.lower()] for name in sorted(set(names.values())) if name.lower() in SPLIT_NAMES}
    several = set(found.values())
    if "train" not in several and len(several) < 2:
        return {}
    if others := sorted(set(names.values()) - set(found)):
        if len(several) < 2:
            return {}
        raise DatasetError(
            f"{folder} has folders of splits ({', '.join(found)}) and also {others[0] or 'sounds'}: move the latter "
            "into a split, or list the sounds in a manifest"
        )
    return {path: found[name] for path, name in names.items()}


def split_notes(splits: Mapping[Path, Split], items: Sequence[AudioItem]) -> list[str]:
    """Return a note that lists the splits read from folders and counts training files used for validation."""
    found = sorted(set(splits.values()), key=["train", "val", "test"].index)
    if not found:
        return []
    note = f"Sub-folders named after splits are read as splits, not as classes: {', '.join(found)}"
    num_val = sum(item.split == "val" for item in items)
    return [note if "val" in found else f"{note}; {num_val} files of train are used for validation"]


def recording(label: str | None, path: Path, val_fraction: float) -> list[AudioItem]:
    """Return the items of a long recording: its beginning for training and its end for validation."""
    border = 1 - val_fraction
    train = AudioItem(path, label, "train", span=(0.0, border))
    return [train, AudioItem(path, label, "val", span=(border, 1.0))] if val_fraction else [train]


def cut_note(val_fraction: float) -> str:
    """Return a note that recordings are cut."""
    return f"Single files are cut into clips; the last {val_fraction:.0%} of the time is used for validation"


def items_of_class(
    label: str | None, paths: Sequence[Path], folder: Path, val_fraction: float, splits: Mapping[Path, Split]
) -> list[AudioItem]:
    """List the sounds of a class with their splits.

    Args:
        label: Class name.
        paths: Sounds of the class.
        folder: Folder that contains them.
        val_fraction: Fraction of the training sounds used for validation if no folder is a validation split. They are
            chosen by a hash of their path below `folder`, so adding files moves few others to another split, and moving
            the folder moves none.
        splits: Split of each sound that is in the folder of a split.
    """
    items = [AudioItem(path, label, splits.get(path, "train")) for path in paths]
    if any(item.split == "val" for item in items):
        return items
    train = [item for item in items if item.split == "train"]
    digests = {
        item: hashlib.sha256(os.fsencode(item.path.relative_to(folder).as_posix())).hexdigest() for item in train
    }
    chosen = set(sorted(train, key=lambda item: digests[item])[: int(len(train) * val_fraction)])
    return [replace(item, split="val") if item in chosen else item for item in items]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder. Links to folders are followed (rglob skips them), but never in a loop."""
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(parent))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(parent, name)) not in visited]
        yield from (Path(parent) / name for name in names)
