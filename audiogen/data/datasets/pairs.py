"""Pairs of a content and a style: what style transfer works on."""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError
from audiogen.data.datasets.table import find_table, listed_path, read_csv


class Pairs(AudioDataset):
    """List the pairs of a CSV file with the columns `content` and `style`.

    Each row makes two clips of the test split, of the classes content and style, which carry the number of the pair,
    counted from 0. A path is relative to the file's folder, and may lead anywhere.

    Args:
        file: Name of the list in the folder named with `--data.root`, which can also name the list itself.
    """

    label_order = ("content", "style")

    def __init__(self, file: str = "pairs.csv") -> None:
        self.file = file

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the two clips of each row, in the order of the rows, whether the sounds exist or not."""
        table = find_table(root, self.file)
        clips = []
        for pair, (place, row) in enumerate(read_csv(table, self.label_order)):
            for label in self.label_order:
                if not row[label]:
                    raise DatasetError(f"{place}: no {label}")
                clips.append(AudioItem(listed_path(row[label], table.parent, place), label, "test", pair))
        if not clips:
            raise DatasetError(f"{table} lists no pairs")
        return clips
