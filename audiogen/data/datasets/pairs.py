"""Read pairs of a content and a style for style transfer."""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError
from audiogen.data.datasets.table import find_table, listed_path, read_csv


class Pairs(AudioDataset):
    """List the pairs of a CSV file with the columns `content` and `style`.

    Each row gives two sounds in the test split, with the classes content and style and the number of the pair, counted
    from 0. Paths are relative to the file's folder and may point anywhere.

    Args:
        file: File name of the list in the folder `--data.root`. `--data.root` may also name the list itself.
    """

    label_order = ("content", "style")

    def __init__(self, file: str = "pairs.csv") -> None:
        self.file = file

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the two sounds of each row, in order, whether or not they exist."""
        table = find_table(root, self.file)
        items = []
        for pair, (location, row) in enumerate(read_csv(table, self.label_order)):
            for label in self.label_order:
                if not row[label]:
                    raise DatasetError(f"{location}: no {label}")
                items.append(AudioItem(listed_path(row[label], table.parent, location), label, "test", pair))
        if not items:
            raise DatasetError(f"{table} lists no pairs")
        return items
