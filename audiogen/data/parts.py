"""Split a store into parts: every N-th file, computed on a machine of its own, until all parts are merged."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from audiogen.data.pipeline import Processed
from audiogen.data.store import SpectrogramStore

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """Every N-th file of a set. Neighbouring files often have similar lengths, so the parts take equally long.

    Attributes:
        index: K, the index of the first file, from 0 to N - 1; for example the task ID of `sbatch --array=0-15`.
        total: N, the number of parts.

    Raises:
        ValueError: If `index` is not in [0, N).
    """

    index: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.total:
            raise ValueError(f"expected a part K/N with K from 0 to N - 1, such as 0/16, got {self}")

    def __str__(self) -> str:
        """Format the part as K/N."""
        return f"{self.index}/{self.total}"

    @property
    def name(self) -> str:
        """Name of the part's folder."""
        return f"{self.index}-of-{self.total}"

    def take(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part of a sequence.

        Example:
            >>> Part(1, 3).take("abcdefgh")
            'beh'
        """
        return items[self.index :: self.total]


def parse_part(text: str) -> Part:
    """Parse a part in the form K/N.

    Raises:
        ValueError: If the text has another form or K is not in [0, N).

    Example:
        >>> parse_part("3/16")
        Part(index=3, total=16)
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise ValueError(f"expected a part K/N with K from 0 to N - 1, such as 0/16, got {text}")
    return Part(int(found[1]), int(found[2]))


def part_names(folder: Path) -> dict[Part, Path]:
    """Return the existing parts and their folders.

    The parent folder is listed instead of testing each name, because network file systems cache that a name did not
    exist.
    """
    names = (
        [path for path in folder.iterdir() if re.fullmatch("[0-9]+-of-[0-9]+", path.name)] if folder.exists() else []
    )
    return {parse_part(path.name.replace("-of-", "/")): path for path in names}


def usable_parts(folder: Path, digests: Sequence[str]) -> dict[Part, SpectrogramStore]:
    """Open the existing parts of a set of files. If there are parts of several N, the N with the most files is used.

    Args:
        folder: Folder of the parts.
        digests: Digest of each file's content. Parts that are damaged or contain other files are ignored.
    """
    of_total: dict[int, dict[Part, SpectrogramStore]] = {}
    for part, path in part_names(folder).items():
        try:
            store = SpectrogramStore(path)
        except ValueError:
            continue
        if store.digests.tolist() != [digest.encode() for digest in part.take(digests)]:
            continue
        if store.is_whole():
            of_total.setdefault(part.total, {})[part] = store
        else:
            warnings.warn(f"{path} is damaged. Rebuilding the spectrograms of this part", stacklevel=2)
    return max(of_total.values(), key=lambda parts: sum(len(store.digests) for store in parts.values()), default={})


def stored_files(store: SpectrogramStore) -> Iterator[Processed]:
    """Yield the record and segments of each file in a store, as they were added."""
    records = list(store.records())
    ends = np.searchsorted(store.file.numpy(), np.arange(len(records)), side="right")
    first = 0
    for record, end in zip(records, ends.tolist(), strict=True):
        yield Processed(record, [store.frames(segment) for segment in range(first, end)])
        first = end
