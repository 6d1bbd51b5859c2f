"""ESC-50 (Piczak, 2015, CC BY-NC 3.0): 2,000 environmental sounds of 5 s at 44.1 kHz, in 50 classes and 5 folds.

The layout is that of the original repository: `meta/esc50.csv` lists the files of the folder `audio`.
"""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split, existing_folder
from audiogen.data.datasets.table import checked_label, find_table, inner_path, read_csv

FOLDS = range(1, 6)


class ESC50(AudioDataset):
    """List ESC-50 with its folds; the class is the category.

    Args:
        val_fold: The fold for validation, 1 to 5 (Huzaifah and Wyse, 2020, take the first).
        test_fold: A fold that is kept for tests; by default all others are trained on.
        esc10: Keep the ten classes of ESC-10 only.

    Raises:
        ValueError: Where the two folds are not different folds of the five.
    """

    def __init__(self, val_fold: int = 1, test_fold: int | None = None, esc10: bool = False) -> None:
        if val_fold not in FOLDS or test_fold not in (None, *FOLDS) or val_fold == test_fold:
            raise ValueError(f"expected different val_fold and test_fold of 1 ... 5, got {val_fold} and {test_fold}")
        self.split_of: dict[int | None, Split] = {val_fold: "val", test_fold: "test"}
        self.esc10 = esc10

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the files that `meta/esc50.csv` names, whether they exist or not."""
        folder = existing_folder(root)
        table = find_table(folder, "meta/esc50.csv")
        clips = []
        for place, row in read_csv(table, ("filename", "fold", "category", "esc10")):
            if row["fold"] not in map(str, FOLDS):
                raise DatasetError(f"{place}: expected a fold of 1 ... 5, got {row['fold']!r}")
            if not self.esc10 or row["esc10"].lower() == "true":
                split = self.split_of.get(int(row["fold"]), "train")
                path = folder / "audio" / inner_path(row["filename"], "filename", place)
                clips.append(AudioItem(path, checked_label(row["category"], place), split))
        if not clips:
            raise DatasetError(f"{table} lists no clips{' of ESC-10' if self.esc10 else ''}")
        return clips
