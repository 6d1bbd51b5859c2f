"""Read ExVo 2022, also called Hume-VB (Cowen et al., 2022): 59,201 vocal bursts at 16 kHz with scores for ten emotions.

`data_info.csv` has one row per clip: File_ID, Split (Train, Val, Test), Subject_ID, Country, and a score in [0, 1] for
each emotion, empty in the test set. The sounds are in `wav/<File_ID>.wav`. As in Jiralerspong & Gidel (2022), a clip
belongs to an emotion's class if it has the highest score for that emotion.
"""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split
from audiogen.data.datasets.table import find_table, inner_path, parse_split, read_csv

# In column order. Triumph is left out because too few of its clips have the highest score.
EMOTIONS = ("awe", "excitement", "amusement", "awkwardness", "fear", "horror", "distress", "sadness", "surprise")


class ExVo(AudioDataset):
    """List the clips of ExVo. The classes are emotions, and a clip may belong to several.

    Args:
        emotions: Score columns to use as classes, in this order; upper or lower case.
        min_score: Smallest score, in (0, 1], at which a clip belongs to an emotion.
        conditional: Use the emotions as classes. If false, every clip is listed without a class, and the test set,
            which lacks only the scores, is used for training too, as in Jiralerspong & Gidel (2022).
        train_on_val: Also train on the validation set, as in Jiralerspong & Gidel (2022).
        file: File name of the table.

    Raises:
        ValueError: If `emotions` is empty or contains duplicates, or if `min_score` is not in (0, 1].
    """

    several_labels = True

    def __init__(
        self,
        emotions: tuple[str, ...] = EMOTIONS,
        min_score: float = 1.0,
        conditional: bool = True,
        train_on_val: bool = False,
        file: str = "data_info.csv",
    ) -> None:
        names = tuple(name.lower() for name in emotions)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected one or more different emotions, got {list(emotions)}")
        if not 0 < min_score <= 1:
            raise ValueError(f"min_score must be in (0, 1], got {min_score}")
        self.label_order = names if conditional else ()
        self.min_score, self.conditional, self.train_on_val, self.file = min_score, conditional, train_on_val, file

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the clips in the table, whether or not the sounds exist in `wav` or beside the table."""
        table = find_table(root, self.file)
        items = []
        for location, row in read_csv(table, ("file_id", "split", *self.label_order)):
            path = _sound(table.parent, row["file_id"].strip("[]"), location)
            split = self._split(parse_split(row["split"], location))
            labels = self._emotions(row, split, location) if self.conditional else [None]
            items += [AudioItem(path, label, split) for label in labels]
        if not items:
            score = f" with a score of {self.min_score:g} or more" if self.conditional else ""
            raise DatasetError(f"{table} lists no clips{score}")
        return items

    def _split(self, split: Split) -> Split:
        """Return the split in which a clip of an official split is used."""
        trained_on = (split == "val" and self.train_on_val) or (split == "test" and not self.conditional)
        return "train" if trained_on else split

    def _emotions(self, row: dict[str, str], split: Split, location: str) -> list[str]:
        """Return the emotions for which a clip has at least the score `min_score`."""
        if split == "test" and not any(row[name] for name in self.label_order):
            return []
        return [name for name in self.label_order if _score(row[name], name, location) >= self.min_score]


def _sound(folder: Path, file_id: str, location: str) -> Path:
    """Return the path where a clip's sound is, or should be."""
    if not file_id:
        raise DatasetError(f"{location}: no file_id")
    inner_path(file_id, "file_id", location)
    path, beside = folder / "wav" / f"{file_id}.wav", folder / f"{file_id}.wav"
    return beside if not path.is_file() and beside.is_file() else path


def _score(cell: str, emotion: str, location: str) -> float:
    """Parse the score in a cell.

    Raises:
        DatasetError: If it is not a number in [0, 1].
    """
    try:
        score = float(cell)
    except ValueError:
        score = -1
    if not 0 <= score <= 1:
        raise DatasetError(f"{location}: expected a score in [0, 1] for {emotion}, got {cell!r}")
    return score
