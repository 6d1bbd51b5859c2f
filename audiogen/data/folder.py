"""Any folder of sounds: one sub-folder for each class, or no classes."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiogen.audio.io import AUDIO_SUFFIXES
from audiogen.data.dataset import AudioDataset, Clip, DatasetError, existing_folder
from audiogen.untrusted import is_regular


class ClassFolders(AudioDataset):
    """List all sound files below a folder; the first level of sub-folders names the classes.

    Files right in the folder and none in sub-folders make a data set without classes. Files right in the folder beside
    sub-folders with sounds are refused, since their class is unknown.

    Args:
        val_share: Part of each class that is kept for validation, chosen by a hash of the file's path below the folder.
    """

    def __init__(self, val_share: float = 0.1) -> None:
        self.val_share = checked_share(val_share)

    def scan(self, root: Path | None) -> Sequence[Clip]:
        """List wav, flac, ogg, mp3, aiff and opus files at any depth."""
        folder = existing_folder(root)
        classes: dict[str | None, list[Path]] = defaultdict(list)
        for path in find_sounds(folder):
            parts = path.relative_to(folder).parts
            classes[parts[0] if len(parts) > 1 else None].append(path)
        if None in classes and len(classes) > 1:
            raise DatasetError(
                f"{folder} has sounds in sub-folders and {len(classes[None])} beside them, such as "
                f"{classes[None][0].name}: move these into a class folder"
            )
        return [
            clip for label, paths in classes.items() for clip in clips_of_class(label, paths, folder, self.val_share)
        ]


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

    Raises:
        DatasetError: Where there are none.
    """
    paths = [
        path
        for path in sorted(files_below(folder))
        if path.suffix.lower() in AUDIO_SUFFIXES
        and (
            is_regular(path) or not path.exists()
        )  # a link to nothing is told of when it is read; pipes are not sounds
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise DatasetError(f"no sound files ({', '.join(sorted(AUDIO_SUFFIXES))}) in {folder}")
    return paths


def clips_of_class(label: str | None, paths: Sequence[Path], folder: Path, val_share: float) -> list[Clip]:
    """Return the clips of a class, a share of them chosen for validation by a hash of the path below `folder`.

    Adding files later moves few of the others to another split, and moving the folder none.
    """
    digests = [hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).hexdigest() for path in paths]
    chosen = set(sorted(digests)[: int(len(paths) * val_share)])
    return [
        Clip(path, label, "val" if digest in chosen else "train") for path, digest in zip(paths, digests, strict=True)
    ]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, through folders that are links (rglob skips them) but not round in circles."""
    visited = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in visited]
        yield from (Path(place) / name for name in names)
