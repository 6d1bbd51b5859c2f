"""ESC-50 (Piczak, 2015, CC BY-NC 3.0): 2,000 environmental sounds of 5 s at 44.1 kHz, in 50 classes and 5 folds.

Expects the layout of the original repository: `meta/esc50.csv` lists the files in the folder `audio`.
"""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split, existing_folder
from audiogen.data.datasets.table import checked_label, find_table, inner_path, read_csv

FOLDS = range(1, 6)


class ESC50(AudioDataset):
    """List ESC-50 with its folds. The class is the category.

    Args:
        val_fold: Fold used for validation, 1 to 5. Huzaifah & Wyse (2020) use fold 1.
        test_fold: Fold used for testing, 1 to 5; null to train on all folds but `val_fold`.
        esc10: Use only the ten classes of ESC-10.

    Raises:
        ValueError: If a fold is not in 1 to 5, or if both folds are the same.
    """

    def __init__(self, val_fold: int = 1, test_fold: int | None = None, esc10: bool = False) -> None:
        if val_fold not in FOLDS or test_fold not in (None, *FOLDS) or val_fold == test_fold:
            raise ValueError(f"expected different val_fold and test_fold from 1 to 5, got {val_fold} and {test_fold}")
        self.split_of: dict[int | None, Split] = {val_fold: "val", test_fold: "test"}
        self.esc10 = esc10

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the files in `meta/esc50.csv`, whether or not they exist."""
        folder = existing_folder(root)
        table = find_table(folder, "meta/esc50.csv")
        items = []
        for location, row in read_csv(table, ("filename", "fold", "category", "esc10")):
            if row["fold"] not in map(str, FOLDS):
                raise DatasetError(f"{location}: expected a fold from 1 to 5, got {row['fold']!r}")
            if not self.esc10 or row["esc10"].lower() == "true":
                split = self.split_of.get(int(row["fold"]), "train")
                path = folder / "audio" / inner_path(row["filename"], "filename", location)
                items.append(AudioItem(path, checked_label(row["category"], location), split))
        if not items:
            raise DatasetError(f"{table} lists no clips{' of ESC-10' if self.esc10 else ''}")
        return items
