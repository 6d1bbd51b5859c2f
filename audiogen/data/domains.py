"""Two folders as unpaired domains: what conversion from one to the other is trained on."""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.dataset import AudioDataset, Clip, DatasetError
from audiogen.data.folder import checked_share, clips_of_class, find_sounds


class Domains(AudioDataset):
    """List all sound files below two folders; domain A has class index 0, domain B 1.

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

    def scan(self, root: Path | None) -> Sequence[Clip]:
        """List wav, flac, ogg, mp3, aiff and opus files at any depth of the two folders."""
        first, second = (root / folder if root else folder for folder in self.folders)
        for folder in (first, second):
            if not folder.is_dir():
                raise DatasetError(f"folder {folder} of a domain does not exist")
        if _overlap(first.resolve(), second.resolve()):
            raise DatasetError(f"expected two separate folders, got {first} and {second}")
        return [
            clip
            for folder, label in zip((first, second), self.label_order, strict=True)
            for clip in clips_of_class(label, find_sounds(folder), folder, self.val_share)
        ]


def _overlap(first: Path, second: Path) -> bool:
    return first.is_relative_to(second) or second.is_relative_to(first)
