"""Score human ratings of generated clips: HEEP and S_GEN of the ExVo competition.

Source: equations 1 and 2 of Jiralerspong & Gidel (2022). HEEP is the correlation of the matrix H of ratings [N, E] with
the matrix T of one-hot targets. Table 1 lists one value per emotion, which is interpreted here as the correlation of a
column of H with the same column of T. `heep_overall`, which is not in the paper, correlates the flattened matrices.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

NOT_RATINGS = ("file", "target")  # columns


class Ratings(NamedTuple):
    """Human ratings of N clips.

    Attributes:
        label_names: Names of the E classes, in the order of the table's columns.
        ratings: Intensity of each class in each clip, float64 [N, E].
        targets: The class that each clip was generated for, one-hot float64 [N, E].
    """

    label_names: list[str]
    ratings: Tensor
    targets: Tensor


def heep(ratings: Tensor, targets: Tensor) -> Tensor:
    """Return the Human-Evaluated Expression Precision of each emotion (equation 1).

    Args:
        ratings: Rating of each clip for each emotion, float [N, E].
        targets: The emotion that each clip was generated for, one-hot [N, E].

    Returns:
        float64 [E] in [-1, 1]: the correlation of an emotion's ratings with its targets, over clips.

    Raises:
        ValueError: If the shapes differ, a value is not finite, a target is not one-hot, or the ratings or targets of
            an emotion are constant, so that their correlation is undefined.

    Example:
        >>> heep(torch.tensor([[3.0, 0.0], [3.0, 1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [1, 0], [0, 1]]))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    ratings, targets = _checked(ratings, targets)
    for kind, columns in (("ratings", ratings), ("targets", targets)):
        same = (columns == columns[0]).all(dim=0).nonzero()[:, 0].tolist()
        if same:
            raise ValueError(
                f"all {kind} of emotion {same[0]} are {columns[0, same[0]]:g}: their correlation is undefined"
            )
    return _correlation(ratings, targets)


def heep_overall(ratings: Tensor, targets: Tensor) -> Tensor:
    """Return the correlation of all ratings with all targets, float64 [].

    Arguments and errors are the same as for `heep`, but the ratings or targets of a single emotion may be constant.

    Example:
        >>> heep_overall(torch.tensor([[5.0, 1.0], [1.0, 5.0]]), torch.tensor([[1, 0], [0, 1]]))
        tensor(1., dtype=torch.float64)
    """
    ratings, targets = _checked(ratings, targets)
    if (ratings == ratings[0, 0]).all() or targets.shape[1] == 1:
        raise ValueError("all ratings, or all targets, are equal: their correlation is undefined")
    return _correlation(ratings.flatten(), targets.flatten())


def s_gen(fad: Tensor, heep: Tensor) -> Tensor:
    """Return S_GEN, which combines the Frechet distance and the HEEP of each emotion (equation 2).

    Args:
        fad: Frechet distance of the clips of each emotion, float [E], above 0.
        heep: Result of `heep`, float [E].

    Returns:
        float64 [E]: (1 / fad + heep) / 2.

    Raises:
        ValueError: If the shapes differ, or a distance is not above 0.

    Example:
        The paper's values for amusement and horror (Table 1):

        >>> s_gen(torch.tensor([1.28, 1.34]), torch.tensor([0.707, 0.205]))
        tensor([0.7441, 0.4756], dtype=torch.float64)
    """
    if fad.shape != heep.shape:
        raise ValueError(f"expected fad and heep of equal shapes, got {list(fad.shape)} and {list(heep.shape)}")
    if not (fad > 0).all():
        raise ValueError(f"expected distances above 0, got {fad.tolist()}")
    return (1 / fad.double() + heep.double()) / 2


def read_ratings(path: Path) -> Ratings:
    """Read a CSV table of mean ratings, with one clip per line.

    Args:
        path: A table with the columns `file` (not used), `target` (the class the clip was generated for), and one
            column of ratings per class.

    Raises:
        ValueError: If a column is missing or repeated, a target is unknown, or a rating is not a number. The message
            has the line number.
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
            f"expected ratings and targets [N, E] of equal shapes, got {list(ratings.shape)} and {list(targets.shape)}"
        )
    ratings, targets = ratings.double(), targets.double()
    if not ratings.isfinite().all():
        raise ValueError("expected finite ratings, got NaN or infinite values")
    one_hot = ((targets == 0) | (targets == 1)).all(dim=1) & (targets.sum(dim=1) == 1)
    if not one_hot.all():
        row = int((~one_hot).nonzero()[0])
        raise ValueError(f"expected one-hot targets, got {targets[row].tolist()} in row {row}")
    return ratings, targets


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation over the first dimension, float64 of the other dimensions."""
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    return (first * second).sum(dim=0) / (first.square().sum(dim=0) * second.square().sum(dim=0)).sqrt()


def _classes(path: Path, header: Sequence[str]) -> list[str]:
    """Return the names of the rated classes; ValueError if a column is missing or repeated."""
    repeated = {name for name in header if header.count(name) > 1}
    missing = [name for name in NOT_RATINGS if name not in header]
    names = [name for name in header if name not in NOT_RATINGS]
    if repeated or missing or not names:
        raise ValueError(
            f"{path}: expected columns {', '.join(NOT_RATINGS)} and one per class, got {', '.join(header) or 'nothing'}"
        )
    return names


def _line(where: str, header: Sequence[str], row: Sequence[str]) -> dict[str, float | str]:
    """Return the cells of a line by column, with ratings as numbers."""
    if len(row) != len(header):
        raise ValueError(f"{where}: expected {len(header)} cells, got {len(row)}")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    names = [name for name in header if name not in NOT_RATINGS]
    if cells["target"] not in names:
        raise ValueError(f"{where}: no column for target {cells['target']!r}, only for {', '.join(names)}")
    return {**cells, **{name: _number(f"{where}, column {name}", cells[name]) for name in names}}


def _number(where: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: expected a rating, got {cell!r}")
    return value
