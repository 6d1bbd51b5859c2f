"""Parts of a store: every N-th file of a set, computed on another machine each, until all are put together."""

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
    """Every N-th file of a set; every N-th, because those that lie together are often alike in length.

    Attributes:
        index: K, the first of them, from 0 to N - 1: the number of a task of `sbatch --array=0-15`.
        total: N, how many parts there are.

    Raises:
        ValueError: For a part that is none of N.
    """

    index: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.total:
            raise ValueError(f"expected a part K/N with K from 0 to N - 1, such as 0/16, got {self}")

    def __str__(self) -> str:
        """Return K/N."""
        return f"{self.index}/{self.total}"

    @property
    def name(self) -> str:
        """Of the folder that holds it."""
        return f"{self.index}-of-{self.total}"

    def take(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part of all items.

        Example:
            >>> Part(1, 3).take("abcdefgh")
            'beh'
        """
        return items[self.index :: self.total]


def parse_part(text: str) -> Part:
    """Return the part that K/N names.

    Raises:
        ValueError: For anything else.

    Example:
        >>> parse_part("3/16")
        Part(index=3, total=16)
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise ValueError(f"expected a part K/N with K from 0 to N - 1, such as 0/16, got {text}")
    return Part(int(found[1]), int(found[2]))


def part_names(folder: Path) -> dict[Part, Path]:
    """Return where the parts are that are there.

    They are listed, not looked for one by one: a network file system remembers for a while that a name was not there.
    """
    names = (
        [path for path in folder.iterdir() if re.fullmatch("[0-9]+-of-[0-9]+", path.name)] if folder.exists() else []
    )
    return {parse_part(path.name.replace("-of-", "/")): path for path in names}


def usable_parts(folder: Path, digests: Sequence[str]) -> dict[Part, SpectrogramStore]:
    """Open the parts of a set of files; of one N only, the one with the most files.

    Args:
        folder: Where they are.
        digests: Of the content of all files: a part that is damaged or of other files is left aside.
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
    """Yield what was added to a store, file by file."""
    records = list(store.records())
    ends = np.searchsorted(store.file.numpy(), np.arange(len(records)), side="right")
    first = 0
    for record, end in zip(records, ends.tolist(), strict=True):
        yield Processed(record, [store.frames(segment) for segment in range(first, end)])
        first = end
