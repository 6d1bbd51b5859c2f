"""Parse a run's table of metrics, and sort its columns into plots by the descriptions in `scalars.json`.

Columns without a description get a plot of their own under the heading "Further".
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from audiogen.scalars import Scalars, heading_order


class Point(NamedTuple):
    """Value of a scalar after a number of clips, in thousands."""

    kimg: float
    value: float


@dataclass(frozen=True)
class Plot:
    """Curves that share their axes.

    Attributes:
        title: Name of the scalar, or what several scalars have in common.
        curves: Points by the names of the scalars.
        references: Scores of real clips by the names of the scalars: "floor" or "real", and the value.
        log: Whether the values are drawn on a logarithmic axis.
        unit: Unit of the values; empty for plain numbers.
    """

    title: str
    curves: dict[str, list[Point]]
    references: dict[str, tuple[str, float]] = field(default_factory=dict)
    log: bool = False
    unit: str = ""

    def label(self, name: str) -> str:
        """Return what distinguishes a scalar from the others in this plot; empty if the title already names it.

        Example:
            >>> Plot("loss", {}).label("loss/generator"), Plot("fad", {}).label("fad")
            ('generator', '')
        """
        return "" if name == self.title else name.removeprefix(f"{self.title}/")


@dataclass(frozen=True)
class Table:
    """Contents of a run's `metrics.csv` and `scalars.json`.

    Attributes:
        kimg: Thousands of clips shown until the last row.
        curves: Points by name, in the order of the rows. Columns without any value are left out.
        texts: Names of columns with other values than numbers.
        scalars: Descriptions of the columns.
    """

    kimg: float
    curves: dict[str, list[Point]]
    texts: list[str] = field(default_factory=list)
    scalars: Scalars = field(default_factory=Scalars)

    def reference(self, name: str) -> tuple[str, float] | None:
        """Return the last score of real clips for a scalar: "floor" or "real", and the value. None without one."""
        scalar = self.scalars[name]
        points = self.curves.get(scalar.reference_name(name) or "")
        return (scalar.reference, points[-1].value) if scalar.reference and points else None

    def best(self, name: str) -> Point | None:
        """Return the best point of a scalar: the highest, the lowest, or the nearest to the score of real clips.

        Values that are not finite are skipped. None for a scalar without direction and reference, or without values.
        """
        points = [point for point in self.curves.get(name, ()) if math.isfinite(point.value)]
        higher_is_better, reference = self.scalars[name].higher_is_better, self.reference(name)
        if not points or (higher_is_better is None and reference is None):
            return None
        if higher_is_better is not None:
            return min(points, key=lambda point: -point.value if higher_is_better else point.value)
        target = reference[1] if reference else 0.0
        return min(points, key=lambda point: abs(point.value - target))

    def headlines(self) -> list[str]:
        """Return the names of the most important scores, in the order of their descriptions."""
        names = [name for name in self.curves if self.scalars[name].headline and self.best(name)]
        return sorted(names, key=self.scalars.position)

    def plots(self) -> dict[str, list[Plot]]:
        """Return the plots below each heading.

        References are drawn as lines of the plots that they belong to, and scalars that repeat another not at all.
        """
        references = {self.scalars[name].reference_name(name) for name in self.curves}
        titles: dict[str, dict[str, list[str]]] = {}
        for name in sorted(self.curves.keys() - references, key=lambda name: (self.scalars.position(name), name)):
            scalar = self.scalars[name]
            if not (scalar.alias_of and scalar.alias_of in self.curves):
                titles.setdefault(scalar.group, {}).setdefault(scalar.title, []).append(name)
        return {
            group: [self._plot(title, names) for title, names in titles[group].items()]
            for group in heading_order(titles)
        }

    def _plot(self, title: str, names: Sequence[str]) -> Plot:
        found = {name: self.reference(name) for name in names}
        values = [point.value for name in names for point in self.curves[name] if math.isfinite(point.value)]
        log = any(self.scalars[name].log_scale for name in names) and bool(values) and min(values) > 0
        return Plot(
            title,
            {name: self.curves[name] for name in names},
            {name: reference for name, reference in found.items() if reference},
            log,
            self.scalars[names[0]].unit,
        )


def parse_table(text: str, source: str, scalars: Scalars | None = None) -> Table:
    """Parse a `metrics.csv`. A last line without an end is ignored, because a run may be writing it.

    Args:
        text: Content of the file.
        source: Path of the file, for messages.
        scalars: Descriptions of the columns.

    Raises:
        ValueError: If there is no column kimg, no row, or a row whose kimg is not a number.
    """
    try:
        header, *rows = list(csv.reader(whole_lines(text))) or [[]]
    except csv.Error as error:
        raise ValueError(f"{source} is not a CSV table: {error}") from error
    if "kimg" not in header:
        raise ValueError(f"{source}: expected a table with a column kimg, got {', '.join(header) or 'an empty file'}")
    if not rows:
        raise ValueError(f"{source} has no rows yet: nothing was logged")
    kimg = [_kimg(f"{source}, line {n}", header, row) for n, row in enumerate(rows, start=2)]
    curves: dict[str, list[Point]] = {}
    texts = []
    for column, name in enumerate(header):
        cells = [(at, row[column]) for at, row in zip(kimg, rows, strict=True) if len(row) > column and row[column]]
        values = [_number(cell) for _, cell in cells]
        if None in values:
            texts.append(name)
        elif values and name not in ("kimg", "step"):
            curves[name] = [Point(at, x) for (at, _), x in zip(cells, values, strict=True) if x is not None]
    return Table(kimg[-1], curves, texts, scalars or Scalars())


def whole_lines(text: str) -> list[str]:
    """Return the complete lines of a text whose last line may still be being written."""
    return text[: text.rfind("\n") + 1].splitlines()


def _kimg(where: str, header: Iterable[str], row: Iterable[str]) -> float:
    cell = dict(zip(header, row, strict=False)).get("kimg", "")
    value = _number(cell)
    if value is None or not math.isfinite(value):
        raise ValueError(f"{where}: expected a number in the column kimg, got {cell!r}")
    return value


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
