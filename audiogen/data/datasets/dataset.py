"""Define a data set: a class that lists the audio files in a folder with their classes and splits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]

# Corpora split into train, dev and eval use "eval" for the test set.
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


class DatasetError(ValueError):
    """The data cannot be used as requested; the message explains why."""


@dataclass(frozen=True)
class AudioItem:
    """One sound of a data set.

    Attributes:
        path: Audio file.
        label: Class name; None in a data set without classes.
        split: Split of the data set that the sound belongs to.
        pair: Number of the pair that the sound belongs to; None without pairs.
        span: For a recording that is cut into clips, the time range that belongs to the split, as fractions from 0
            (start) to 1 (end). None for a file that is not cut.
    """

    path: Path
    label: str | None
    split: Split
    pair: int | None = None
    span: tuple[float, float] | None = None


class AudioDataset(ABC):
    """A layout of audio files on disk, with one subclass in its own file per data set.

    Attributes:
        label_order: Class names with a natural order (zero, one, two ...). Other class names are sorted.
        several_labels: Whether a file may be listed in several classes. If False, that is treated as a mistake.
        notes: Messages for the user about how the last `scan` read the layout.
    """

    label_order: tuple[str, ...] = ()
    several_labels: bool = False
    notes: Sequence[str] = ()

    @abstractmethod
    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List all sounds below `root` in an order that does not depend on the machine.

        Args:
            root: Folder given by `--data.root`, or None if it was not given.

        Returns:
            The sounds of all splits. Either all of them have a label or none has.

        Raises:
            DatasetError: If the folder is missing, is empty or has a different layout.
        """


def existing_folder(root: Path | None) -> Path:
    """Return `root` if it is a folder.

    Raises:
        DatasetError: If no folder was given or it does not exist.
    """
    if root is None:
        raise DatasetError("this data set needs a folder: name it with --data.root DIR")
    if root.is_file():
        raise DatasetError(f"data folder {root} is a file: name the folder it is in (--data.root)")
    if not root.is_dir():
        raise DatasetError(f"data folder {root} does not exist (--data.root)")
    return root
