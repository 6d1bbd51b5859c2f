"""Read a run's table of metrics and sort them into plots, by their names alone.

Names of metrics are those of `metrics/evaluator.py`: fad_classifier, with its reference fad_classifier_floor; of one
class fad_classifier/zero, with fad_classifier_floor/zero. Names that nobody foresaw are drawn under "Further".
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Best = Literal["lowest", "highest", "nearest"]
# Metrics, without the embedding's name, and when they are best: "nearest" to the reference, as 1 is for a ratio.
QUALITY: dict[str, Best] = {
    "fad": "lowest",
    "fid": "lowest",
    "kad": "lowest",
    "kid": "lowest",
    "coherence": "highest",
    "target_share": "highest",
    "content_kept": "highest",
    "success": "highest",
    "precision": "highest",
    "density": "nearest",
}
DIVERSITY: dict[str, Best] = {
    "coverage": "highest",
    "recall": "highest",
    "diversity": "nearest",
    "vendi": "nearest",
    "variance_ratio": "nearest",
    "rank_ratio": "nearest",
    "class_entropy": "highest",
}
METRICS = QUALITY | DIVERSITY
REFERENCES = ("floor", "real")
OF_CLASSES = "Of each class"
FURTHER = "Further"
# Headings, in the order of the page, and the names below them: the first pattern that fits the beginning decides.
HEADINGS = {
    "Quality": rf"({'|'.join(QUALITY)})(_[^/]*)?$",
    "Diversity": rf"({'|'.join(DIVERSITY)})(_[^/]*)?$",
    OF_CLASSES: rf"({'|'.join(METRICS)})(_[^/]*)?/",
    "Collapse signals": r"(val/)?logits[/_]|minibatch_stddev/|path_length/",
    "Losses": r"(loss|penalty|gradient_norm)/",
    "Speed": r"(speed|evaluation)/|.*per_second$",
    FURTHER: "",
}
_TOGETHER = re.compile(r"(?:val/)?(logits)[/_](?:real|fake|train)$|(loss|penalty|gradient_norm)/")


class Point(NamedTuple):
    """A metric at some time."""

    kimg: float
    value: float


@dataclass(frozen=True)
class Table:
    """What a run has logged.

    Attributes:
        kimg: Of the last row.
        curves: Points in the order of the rows, by name; a metric that was never logged is not there.
        texts: Names of columns that hold something else than numbers.
    """

    kimg: float
    curves: dict[str, list[Point]]
    texts: list[str]


@dataclass(frozen=True)
class Plot:
    """Curves that share their axes.

    Attributes:
        title: What they are.
        curves: Points by the names of the metrics.
        references: What real clips score, by the names of the metrics: "floor" or "real", and the value.
        log: Whether the values are drawn on a logarithmic axis.
    """

    title: str
    curves: dict[str, list[Point]]
    references: dict[str, tuple[str, float]] = field(default_factory=dict)
    log: bool = False

    def label(self, name: str) -> str:
        """Return what tells a metric from the others in this plot; nothing where it is the title."""
        return "" if name == self.title else name.removeprefix(f"{self.title}/")


def read_table(path: Path) -> Table:
    """Read a `metrics.csv`; see `parse_table`."""
    return parse_table(path.read_text(encoding="utf-8", errors="backslashreplace"), str(path))


def parse_table(text: str, source: str) -> Table:
    """Parse a `metrics.csv`; a last line that is still being written is left out.

    Args:
        text: The table.
        source: Its path, for messages.

    Raises:
        ValueError: Without a column kimg, without rows, and for a row whose kimg is no number.
    """
    try:
        header, *rows = list(csv.reader(whole_lines(text))) or [[]]
    except csv.Error as error:
        raise ValueError(f"{source} is no table: {error}") from error
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
    return Table(kimg[-1], curves, texts)


def whole_lines(text: str) -> list[str]:
    """Return the lines of a text that a run may be writing right now: those that have ended."""
    return text[: text.rfind("\n") + 1].splitlines()


def sort_plots(curves: Mapping[str, list[Point]]) -> dict[str, list[Plot]]:
    """Return the plots below each heading; headings without any are left out.

    References are no plots of their own, nor is `fad` where it repeats the metric of an embedding.
    """
    titles: dict[str, dict[str, list[str]]] = {heading: {} for heading in HEADINGS}
    for name in sorted(curves, key=_rank):
        if _referred(name) not in curves and not _repeats(name, curves):
            titles[heading_of(name)].setdefault(_title(name), []).append(name)
    return {
        heading: [
            _plot(heading, title, {name: curves[name] for name in names}, curves) for title, names in found.items()
        ]
        for heading, found in titles.items()
        if found
    }


def heading_of(name: str) -> str:
    """Return the heading that a metric belongs under.

    Example:
        >>> heading_of("fad_vggish"), heading_of("coherence/seven"), heading_of("my_own")
        ('Quality', 'Of each class', 'Further')
    """
    return next(heading for heading, pattern in HEADINGS.items() if re.match(pattern, name))


def reference_of(name: str, curves: Mapping[str, Sequence[Point]]) -> tuple[str, float] | None:
    """Return what real clips score: "floor" or "real", and the value; None where that is not known.

    Example:
        >>> reference_of("fad_a/seven", {"fad_a_floor/seven": [Point(1.0, 0.5)]})
        ('floor', 0.5)
    """
    head, slash, label = name.partition("/")
    for kind in REFERENCES:
        points = curves.get(f"{head}_{kind}{slash}{label}")
        if points:
            return kind, points[-1].value
    return None


def best_point(name: str, points: Sequence[Point], reference: float | None = None) -> Point | None:
    """Return when a metric was best; None for metrics that are no metrics, and without what it should be near to.

    Args:
        name: Of the metric: it tells whether less or more is better.
        points: Those that are not finite are passed over.
        reference: What real clips score.

    Example:
        >>> best_point("fad_a", [Point(1, 9.0), Point(2, 3.0), Point(3, 5.0)])
        Point(kimg=2, value=3.0)
    """
    finite = [point for point in points if math.isfinite(point.value)]
    best = METRICS.get(_metric(name))
    if not finite or best is None or (best == "nearest" and reference is None):
        return None
    if best == "nearest":
        return min(finite, key=lambda point: abs(point.value - (reference or 0)))
    return min(finite, key=lambda point: point.value if best == "lowest" else -point.value)


def _metric(name: str) -> str:
    """Return the metric that a metric is of, without embedding and class; nothing for other metrics."""
    return next((metric for metric in METRICS if re.match(rf"{metric}(_|/|$)", name)), "")


def _rank(name: str) -> int:
    """Return the place of a metric's metric in the list, the end for others."""
    return [*METRICS, ""].index(_metric(name))


def _referred(name: str) -> str:
    """Return the name of the metric that a reference belongs to; nothing for other names."""
    match = re.fullmatch(rf"([^/]+)_(?:{'|'.join(REFERENCES)})(/.*)?", name)
    return match[1] + (match[2] or "") if match else ""


def _repeats(name: str, curves: Mapping[str, list[Point]]) -> bool:
    return name == "fad" and any(points == curves[name] for other, points in curves.items() if other != name)


def _title(name: str) -> str:
    """Return the title of a metric's plot."""
    if heading_of(name) == OF_CLASSES:
        return name.partition("/")[0]
    together = _TOGETHER.match(name)
    return name if together is None else together[1] or together[2]


def _plot(heading: str, title: str, shown: dict[str, list[Point]], curves: Mapping[str, list[Point]]) -> Plot:
    found = {name: reference_of(name, curves) for name in shown}
    values = [point.value for points in shown.values() for point in points if math.isfinite(point.value)]
    distance = METRICS.get(_metric(title)) == "lowest"
    log = (distance or heading == "Losses") and bool(values) and min(values) > 0
    return Plot(title, shown, {name: reference for name, reference in found.items() if reference}, log)


def _kimg(where: str, header: Sequence[str], row: Sequence[str]) -> float:
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
