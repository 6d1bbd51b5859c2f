"""Any folder of sounds: one sub-folder for each class, or no classes."""

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
    """List all sound files below a folder; the first level of sub-folders names the classes.

    Files right in the folder and none in sub-folders make a data set without classes. Files right in the folder beside
    sub-folders with sounds are refused, since their class is unknown.

    Sub-folders with the usual names of splits (train, valid, test, ...) are read as splits, not as classes, either
    above the class folders or within them. If every class is a single file, or the folder is a sound file itself, the
    files are recordings: they are cut into clips, and the end of each is used for validation.

    Args:
        val_share: Part of each class that is kept for validation where no folder is for it, chosen by a hash of the
            file's path below the folder.
    """

    def __init__(self, val_share: float = 0.1) -> None:
        self.val_share = checked_share(val_share)

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List sound files at any depth."""
        if root is not None and root.is_file():
            self.notes = [cut_note(self.val_share)]
            return recording(None, root, self.val_share)
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
                f"{folder} has sounds in sub-folders and {len(classes[None])} beside them, such as "
                f"{classes[None][0].name}: move these into a class folder"
            )
        if not splits:
            for label, paths in classes.items():
                splits |= split_folders(paths, folder / (label or ""))
        self.notes = other_files_notes(folder)
        if not splits and all(len(paths) == 1 for paths in classes.values()):
            self.notes.insert(0, cut_note(self.val_share))
            return [clip for label, paths in classes.items() for clip in recording(label, paths[0], self.val_share)]
        clips = [
            clip
            for label, paths in classes.items()
            for clip in clips_of_class(label, paths, folder, self.val_share, splits)
        ]
        self.notes = split_notes(splits, clips) + self.notes
        return clips


def checked_share(val_share: float) -> float:
    """Return `val_share` if it is a share that leaves something to train on.

    Raises:
        ValueError: Where it is not in [0, 1).
    """
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share must be in [0, 1), got {val_share}")
    return val_share


def find_sounds(folder: Path) -> list[Path]:
    """List the sound files at any depth below a folder, sorted; hidden files and folders are left out.

    Formats that cannot be read are listed too, so that their files are reported when they are read.

    Raises:
        DatasetError: Where there are none.
    """
    paths, others = _listed(folder)
    if not paths:
        there = f", only {_counted(others)} files" if others else ""
        raise DatasetError(f"no sound files ({', '.join(sorted(READ_SUFFIXES))}) in {folder}{there}")
    return paths


def other_files_notes(folder: Path) -> list[str]:
    """Count the files below a folder that are not sounds by their suffix."""
    others = _listed(folder)[1]
    return [f"{others.total()} other files, not sounds by their suffix: {_counted(others)}"] if others else []


def _counted(others: "Counter[str]") -> str:
    return ", ".join(f"{num} {suffix or 'without a suffix'}" for suffix, num in others.most_common(10))


def _listed(folder: Path) -> "tuple[list[Path], Counter[str]]":
    """Return the sounds below a folder, and how many other files there are of each suffix."""
    paths, others = [], Counter[str]()
    for path in sorted(files_below(folder)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.exists() and not is_regular(path):  # a pipe; a link to nothing is told of when it is read
            continue
        if path.suffix.lower() in SOUND_SUFFIXES:
            paths.append(path)
        else:
            others[path.suffix.lower()] += 1
    return paths, others


def split_folders(paths: Sequence[Path], folder: Path) -> dict[Path, Split]:
    """Return the split of each sound where the sub-folders of a folder are splits, and nothing where they are not.

    They are splits if all of them have usual names of splits (train, valid, test, ...), and these are of several splits
    or all of train.

    Raises:
        DatasetError: If folders of several splits lie beside other folders or sounds.
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
            f"{folder} has folders of splits ({', '.join(found)}) and beside them {others[0] or 'sounds'}: move these "
            "into a split, or list the sounds in a manifest"
        )
    return {path: found[name] for path, name in names.items()}


def split_notes(splits: Mapping[Path, Split], clips: Sequence[AudioItem]) -> list[str]:
    """Say which splits were read from folders, and how many clips of train are used for validation."""
    found = sorted(set(splits.values()), key=["train", "val", "test"].index)
    if not found:
        return []
    note = f"Sub-folders named after splits are read as splits, not as classes: {', '.join(found)}"
    num_val = sum(clip.split == "val" for clip in clips)
    return [note if "val" in found else f"{note}; {num_val} files of train are used for validation"]


def recording(label: str | None, path: Path, val_share: float) -> list[AudioItem]:
    """Return the clips of a long recording: of its beginning to train on, of its end for validation."""
    border = 1 - val_share
    train = AudioItem(path, label, "train", span=(0.0, border))
    return [train, AudioItem(path, label, "val", span=(border, 1.0))] if val_share else [train]


def cut_note(val_share: float) -> str:
    """Tell that recordings are cut."""
    return f"Single files are cut into clips; the last {val_share:.0%} of the time is used for validation"


def clips_of_class(
    label: str | None, paths: Sequence[Path], folder: Path, val_share: float, splits: Mapping[Path, Split]
) -> list[AudioItem]:
    """Return the clips of a class.

    Args:
        label: The class.
        paths: Its sounds.
        folder: Which they lie below.
        val_share: Part of those to train on that is taken for validation, chosen by a hash of the path below `folder`:
            adding files later moves few of the others to another split, and moving the folder none. None is taken
            where a folder is for validation.
        splits: Of the sounds that lie in a folder of a split.
    """
    clips = [AudioItem(path, label, splits.get(path, "train")) for path in paths]
    if any(clip.split == "val" for clip in clips):
        return clips
    train = [clip for clip in clips if clip.split == "train"]
    digests = {
        clip: hashlib.sha256(os.fsencode(clip.path.relative_to(folder).as_posix())).hexdigest() for clip in train
    }
    chosen = set(sorted(train, key=lambda clip: digests[clip])[: int(len(train) * val_share)])
    return [replace(clip, split="val") if clip in chosen else clip for clip in clips]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, through folders that are links (rglob skips them) but not round in circles."""
    visited = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in visited]
        yield from (Path(place) / name for name in names)
