"""Human ratings of generated clips: HEEP and S_GEN of the ExVo competition.

Equations 1 and 2 of Jiralerspong & Gidel (2022). They compare the matrix H of ratings [N, E] with the matrix T of
one-hot targets by their correlation. Their Table 1 has one value for each emotion: it is read as the correlation of a
column of H with the same column of T. That of the whole matrices, flattened, is `heep_overall`; the paper has none.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

ABOUT = ("file", "target")  # columns that are no ratings


class Ratings(NamedTuple):
    """What people heard in N clips.

    Attributes:
        label_names: E classes, in the order of the table's columns.
        ratings: float64 [N, E], of how much of each class there is in a clip.
        targets: float64 [N, E], one-hot: the class a clip was made for.
    """

    label_names: list[str]
    ratings: Tensor
    targets: Tensor


def heep(ratings: Tensor, targets: Tensor) -> Tensor:
    """Return the Human-Evaluated Expression Precision of each emotion (equation 1).

    Args:
        ratings: float [N, E], each clip rated for each emotion.
        targets: [N, E], 1 for the emotion a clip was made for, 0 for the others.

    Returns:
        float64 [E], the correlation over clips of the ratings of an emotion with its targets, in [-1, 1].

    Raises:
        ValueError: For shapes that differ, values that are not finite, targets that are not one-hot, and where the
            ratings or the targets of an emotion are all the same: they correlate with nothing.

    Example:
        >>> heep(torch.tensor([[3.0, 0.0], [3.0, 1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [1, 0], [0, 1]]))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    ratings, targets = _checked(ratings, targets)
    for kind, columns in (("ratings", ratings), ("targets", targets)):
        same = (columns == columns[0]).all(dim=0).nonzero()[:, 0].tolist()
        if same:
            raise ValueError(f"all {kind} of emotion {same[0]} are {columns[0, same[0]]:g}: no correlation with that")
    return _correlation(ratings, targets)


def heep_overall(ratings: Tensor, targets: Tensor) -> Tensor:
    """Return the correlation of all ratings with all targets, float64 []; arguments and errors are those of `heep`.

    An emotion that is never rated, or that no clip was made for, is no obstacle here.

    Example:
        >>> heep_overall(torch.tensor([[5.0, 1.0], [1.0, 5.0]]), torch.tensor([[1, 0], [0, 1]]))
        tensor(1., dtype=torch.float64)
    """
    ratings, targets = _checked(ratings, targets)
    if (ratings == ratings[0, 0]).all() or targets.shape[1] == 1:
        raise ValueError("all ratings, or all targets, are the same: no correlation with that")
    return _correlation(ratings.flatten(), targets.flatten())


def s_gen(fad: Tensor, heep: Tensor) -> Tensor:
    """Return S_GEN, which combines both measures of an emotion (equation 2).

    Args:
        fad: float [E], Frechet distance of the clips of each emotion, above 0.
        heep: float [E].

    Returns:
        float64 [E]: (1 / fad + heep) / 2.

    Raises:
        ValueError: For shapes that differ, and distances that are not above 0.

    Example:
        The paper's values for amusement and horror (Table 1):

        >>> s_gen(torch.tensor([1.28, 1.34]), torch.tensor([0.707, 0.205]))
        tensor([0.7441, 0.4756], dtype=torch.float64)
    """
    if fad.shape != heep.shape:
        raise ValueError(f"expected fad and heep of one shape, got {list(fad.shape)} and {list(heep.shape)}")
    if not (fad > 0).all():
        raise ValueError(f"expected distances above 0, got {fad.tolist()}")
    return (1 / fad.double() + heep.double()) / 2


def read_ratings(path: Path) -> Ratings:
    """Read a CSV table of mean ratings, one clip in a line.

    Args:
        path: Columns `file` (for people), `target` (the class the clip was made for), and one for each class.

    Raises:
        ValueError: For missing or repeated columns, an unknown target, and a cell that is no number; with the line.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        label_names = _classes(path, header)
        ratings, targets = [], []
        for row in reader:
            if row:
                values = _line(f"{path}, line {reader.line_num}", header, row)
                ratings.append([values[name] for name in label_names])
                targets.append([float(name == values["target"]) for name in label_names])
    if not ratings:
        raise ValueError(f"{path} has no ratings")
    return Ratings(label_names, torch.tensor(ratings, dtype=torch.float64), torch.tensor(targets, dtype=torch.float64))


def _checked(ratings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if ratings.ndim != 2 or ratings.shape != targets.shape or not ratings.numel():
        raise ValueError(
            f"expected ratings and targets [N, E] of one shape, got {list(ratings.shape)} and {list(targets.shape)}"
        )
    ratings, targets = ratings.double(), targets.double()
    if not ratings.isfinite().all():
        raise ValueError("expected finite ratings, got some that are not")
    one_hot = ((targets == 0) | (targets == 1)).all(dim=1) & (targets.sum(dim=1) == 1)
    if not one_hot.all():
        row = int((~one_hot).nonzero()[0])
        raise ValueError(f"expected one-hot targets, got {targets[row].tolist()} in row {row}")
    return ratings, targets


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation over the first dimension."""
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    return (first * second).sum(dim=0) / (first.square().sum(dim=0) * second.square().sum(dim=0)).sqrt()


def _classes(path: Path, header: Sequence[str]) -> list[str]:
    """Return the names of the rated classes."""
    repeated = {name for name in header if header.count(name) > 1}
    missing = [name for name in ABOUT if name not in header]
    names = [name for name in header if name not in ABOUT]
    if repeated or missing or not names:
        raise ValueError(
            f"{path}: expected columns {', '.join(ABOUT)} and one for each class, got {', '.join(header) or 'nothing'}"
        )
    return names


def _line(where: str, header: Sequence[str], row: Sequence[str]) -> dict[str, float | str]:
    """Return the cells of a line by their columns, ratings as numbers."""
    if len(row) != len(header):
        raise ValueError(f"{where}: expected {len(header)} cells, got {len(row)}")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    names = [name for name in header if name not in ABOUT]
    if cells["target"] not in names:
        raise ValueError(f"{where}: target {cells['target']!r} has no column, there are {', '.join(names)}")
    return {**cells, **{name: _number(f"{where}, column {name}", cells[name]) for name in names}}


def _number(where: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: expected a rating, got {cell!r}")
    return value
