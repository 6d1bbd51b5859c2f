"""What a data set is: a rule that lists the clips under a folder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]

# "eval" is the test set of corpora that are split into train, dev and eval.
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
    """A data set that cannot be used as asked; the message tells the user why."""


@dataclass(frozen=True)
class AudioItem:
    """One sound of a data set.

    Attributes:
        path: The sound file.
        label: Its class name, or None in a data set without classes.
        split: The part of the data set it belongs to.
        pair: Number of the pair that the clip belongs to; None without pairs.
        span: Of a recording that is cut into clips, the stretch of time that belongs to the split, from 0 at its start
            to 1 at its end; None for a file that is not cut.
    """

    path: Path
    label: str | None
    split: Split
    pair: int | None = None
    span: tuple[float, float] | None = None


class AudioDataset(ABC):
    """A layout of sound files on disk: one subclass, in a file of its own, for each data set.

    Attributes:
        label_order: Class names that have an order of their own (zero, one, two ...); others are sorted.
        several_labels: Whether a file may be listed in several classes; otherwise that is a mistake.
        notes: What the user should know of how the last `scan` read the layout.
    """

    label_order: tuple[str, ...] = ()
    several_labels: bool = False
    notes: Sequence[str] = ()

    @abstractmethod
    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List all clips below `root`, in an order that does not depend on the machine.

        Args:
            root: The folder the user named with `--data.root`, or None where none was named.

        Returns:
            The clips of all splits; either all of them have a label or none has.

        Raises:
            DatasetError: Where the folder is missing, empty or laid out in another way.
        """


def existing_folder(root: Path | None) -> Path:
    """Return `root` if it is a folder.

    Raises:
        DatasetError: Where no folder was named or it does not exist.
    """
    if root is None:
        raise DatasetError("this data set needs a folder: name it with --data.root DIR")
    if root.is_file():
        raise DatasetError(f"data folder {root} is a file: name the folder it is in (--data.root)")
    if not root.is_dir():
        raise DatasetError(f"data folder {root} does not exist (--data.root)")
    return root
