"""Two folders as unpaired domains: what conversion from one to the other is trained on."""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split
from audiogen.data.datasets.folder import (
    checked_share,
    clips_of_class,
    cut_note,
    find_sounds,
    other_files_notes,
    recording,
    split_folders,
    split_notes,
)


class Domains(AudioDataset):
    """List all sound files below two folders; domain A has class index 0, domain B 1.

    Within a domain, sub-folders with the usual names of splits (train, test, ...) are read as splits. If each domain is
    a single file, the files are recordings: they are cut into clips, and the end of each is used for validation.

    The classes are named after the folders, or "a" and "b" where the folders have the same name.

    Args:
        a: Folder of domain A, relative to `--data.root` where that is given.
        b: Folder of domain B, likewise.
        val_share: Part of each domain that is kept for validation, chosen by a hash of the file's path below its
            folder.
    """

    def __init__(self, a: str, b: str, val_share: float = 0.1) -> None:
        self.folders = (Path(a).expanduser(), Path(b).expanduser())
        self.val_share = checked_share(val_share)
        names = (self.folders[0].name, self.folders[1].name)
        self.label_order = ("a", "b") if names[0] == names[1] or "" in names else names

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List sound files at any depth of the two folders; either may be a single recording instead."""
        places = [root / folder if root else folder for folder in self.folders]
        for place in places:
            if not place.exists():
                raise DatasetError(f"folder {place} of a domain does not exist")
        if _overlap(*(place.resolve() for place in places)):
            raise DatasetError(f"expected two separate folders, got {places[0]} and {places[1]}")
        domains = dict(zip(self.label_order, places, strict=True))
        found = {label: [place] if place.is_file() else find_sounds(place) for label, place in domains.items()}
        splits = {
            path: split for label, paths in found.items() for path, split in _splits(paths, domains[label]).items()
        }
        others = [note for place in places if place.is_dir() for note in other_files_notes(place)]
        if all(len(paths) == 1 for paths in found.values()):
            self.notes = [cut_note(self.val_share), *others]
            return [clip for label, paths in found.items() for clip in recording(label, paths[0], self.val_share)]
        clips = [
            clip
            for label, paths in found.items()
            for clip in clips_of_class(label, paths, _base(domains[label]), self.val_share, splits)
        ]
        self.notes = split_notes(splits, clips) + others
        return clips


def _base(place: Path) -> Path:
    return place.parent if place.is_file() else place


def _splits(paths: Sequence[Path], place: Path) -> dict[Path, Split]:
    return {} if place.is_file() else split_folders(paths, place)


def _overlap(first: Path, second: Path) -> bool:
    return first.is_relative_to(second) or second.is_relative_to(first)
