"""Read two folders as unpaired domains to convert between."""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split
from audiogen.data.datasets.folder import (
    checked_fraction,
    cut_note,
    find_sounds,
    items_of_class,
    other_files_notes,
    recording,
    split_folders,
    split_notes,
)


class Domains(AudioDataset):
    """List all audio files below two folders. Domain A has class index 0, domain B has class index 1.

    Within a domain, sub-folders with the usual names of splits (train, test, ...) are read as splits. If each domain is
    a single file, the files are treated as recordings: they are cut into clips, and the end of each is used for
    validation.

    The classes are named after the folders, or "a" and "b" if both folders have the same name.

    Args:
        a: Folder of domain A, relative to `--data.root` if that is given.
        b: Folder of domain B, relative to `--data.root` if that is given.
        val_fraction: Fraction of each domain used for validation, in [0, 1). Files are chosen by a hash of their path
            below the domain's folder.
    """

    def __init__(self, a: str, b: str, val_fraction: float = 0.1) -> None:
        self.folders = (Path(a).expanduser(), Path(b).expanduser())
        self.val_fraction = checked_fraction(val_fraction)
        names = (self.folders[0].name, self.folders[1].name)
        self.label_order = ("a", "b") if names[0] == names[1] or "" in names else names

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the audio files at any depth of the two folders; either may be a single recording instead.

        Args:
            root: Folder that the paths of the domains are relative to; None for the current folder.

        Returns:
            The sounds of domain A, then those of domain B.

        Raises:
            DatasetError: If a folder is missing or empty, or if one folder contains the other.
        """
        roots = [root / folder if root else folder for folder in self.folders]
        for folder in roots:
            if not folder.exists():
                raise DatasetError(f"the folder {folder} of a domain does not exist")
        if _overlap(*(path.resolve() for path in roots)):
            raise DatasetError(f"expected two separate folders, got {roots[0]} and {roots[1]}")
        domains = dict(zip(self.label_order, roots, strict=True))
        found = {label: [path] if path.is_file() else find_sounds(path) for label, path in domains.items()}
        splits = {
            path: split for label, paths in found.items() for path, split in _splits(paths, domains[label]).items()
        }
        others = [note for path in roots if path.is_dir() for note in other_files_notes(path)]
        if all(len(paths) == 1 for paths in found.values()):
            self.notes = [cut_note(self.val_fraction), *others]
            return [item for label, paths in found.items() for item in recording(label, paths[0], self.val_fraction)]
        items = [
            item
            for label, paths in found.items()
            for item in items_of_class(label, paths, _base(domains[label]), self.val_fraction, splits)
        ]
        self.notes = split_notes(splits, items) + others
        return items


def _base(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _splits(paths: Sequence[Path], folder: Path) -> dict[Path, Split]:
    return {} if folder.is_file() else split_folders(paths, folder)


def _overlap(first: Path, second: Path) -> bool:
    return first.is_relative_to(second) or second.is_relative_to(first)
