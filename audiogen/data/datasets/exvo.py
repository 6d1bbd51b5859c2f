"""ExVo 2022, also called Hume-VB (Cowen et al., 2022): 59,201 vocal bursts with scores for ten emotions, at 16 kHz.

`data_info.csv` has a row for each clip: File_ID, Split (Train, Val, Test), Subject_ID, Country, and for each emotion a
score in [0, 1], empty in the test set. The sounds are `wav/<File_ID>.wav`. The classes are those of Jiralerspong and
Gidel (2022), "Generating Diverse Vocal Bursts with StyleGAN2 and MEL-Spectrograms": all clips with the highest score.
"""

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split
from audiogen.data.datasets.table import find_table, inner_path, parse_split, read_csv

# In the order of the columns, without triumph: too few of its clips have the highest score.
EMOTIONS = ("awe", "excitement", "amusement", "awkwardness", "fear", "horror", "distress", "sadness", "surprise")


class ExVo(AudioDataset):
    """List the clips of ExVo; the classes are emotions, and a clip may belong to several.

    Args:
        emotions: The columns to take as classes, in this order, in upper or lower case.
        min_score: A clip belongs to every emotion for which it has this score or more.
        conditional: False lists every clip, without classes. There the test set is trained on, as in the paper: what
            it lacks are the scores.
        train_on_val: Train on the validation set too, as in the paper.
        file: Name of the table.

    Raises:
        ValueError: Where there are no emotions or one of them twice, or `min_score` is not in (0, 1].
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
        """List the clips of the table, whether the sounds exist or not: in `wav`, or else beside the table."""
        table = find_table(root, self.file)
        clips = []
        for place, row in read_csv(table, ("file_id", "split", *self.label_order)):
            path = _sound(table.parent, row["file_id"].strip("[]"), place)
            split = self._split(parse_split(row["split"], place))
            labels = self._emotions(row, split, place) if self.conditional else [None]
            clips += [AudioItem(path, label, split) for label in labels]
        if not clips:
            score = f" with a score of {self.min_score:g} or more" if self.conditional else ""
            raise DatasetError(f"{table} lists no clips{score}")
        return clips

    def _split(self, split: Split) -> Split:
        """Return what a clip of the official split is used for."""
        trained_on = (split == "val" and self.train_on_val) or (split == "test" and not self.conditional)
        return "train" if trained_on else split

    def _emotions(self, row: dict[str, str], split: Split, place: str) -> list[str]:
        """Return the emotions that a clip has the wanted score for."""
        if split == "test" and not any(row[name] for name in self.label_order):
            return []
        return [name for name in self.label_order if _score(row[name], name, place) >= self.min_score]


def _sound(folder: Path, file_id: str, place: str) -> Path:
    """Return where the sound of a clip is, or should be."""
    if not file_id:
        raise DatasetError(f"{place}: no file_id")
    inner_path(file_id, "file_id", place)
    path, beside = folder / "wav" / f"{file_id}.wav", folder / f"{file_id}.wav"
    return beside if not path.is_file() and beside.is_file() else path


def _score(cell: str, emotion: str, place: str) -> float:
    """Return the score in a cell."""
    try:
        score = float(cell)
    except ValueError:
        score = -1
    if not 0 <= score <= 1:
        raise DatasetError(f"{place}: expected a score in [0, 1] for {emotion}, got {cell!r}")
    return score
