"""Log all metrics to one table, `metrics.csv`, which a resumed run continues."""

import csv
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from audiogen import scalars as descriptions
from audiogen.atomic import append_text, write_text
from audiogen.damaged import set_aside
from audiogen.scalars import Scalars
from audiogen.untrusted import read_inside

FILE_NAME = "metrics.csv"
MAX_BYTES = 1 << 28


class MetricsCSV(Logger):
    """Write every row as soon as it is logged, and keep the table when a run is resumed.

    Lightning's CSVLogger deletes it instead. `scalars.json`, next to the table, describes its columns.

    Args:
        folder: The run directory.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / FILE_NAME
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._rewrite = True  # the next row needs the whole table to be written

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """Empty, because a run directory contains a single run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Ignore hyperparameters, which config.yaml contains."""

    @rank_zero_only
    def describe_scalars(self, scalars: Scalars) -> None:
        """Write `scalars.json`. Descriptions from earlier parts of the run are kept."""
        path = self.path.with_name(descriptions.FILE_NAME)
        with suppress(FileNotFoundError, ValueError):  # a damaged file is replaced
            text = read_inside(path.parent, path.name, descriptions.MAX_BYTES).decode()
            scalars |= Scalars.from_json(text, str(path))
        write_text(path, scalars.to_json())

    @rank_zero_only
    def resume_from(self, clips_seen: int) -> None:
        """Read the rows of an earlier part of this run, up to the number of clips where it resumes."""
        self._rows = self._read(clips_seen)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row, or extend the last row if it has the same step.

        Args:
            metrics: Values by name.
            step: Number of clips shown.
        """
        clips = int(step or 0)
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        row: dict[str, Any] = {**values, "step": clips, "kimg": clips / 1000}
        if self._rows and int(self._rows[-1]["step"]) == clips:
            row = self._rows.pop() | row
            self._rewrite = True
        self._rows.append(row)
        columns = sorted({*self._columns, *row}, key=lambda name: (name not in ("step", "kimg"), name))
        if self._rewrite or columns != self._columns:
            self._columns, self._rewrite = columns, False
            write_text(self.path, self._text([dict(zip(columns, columns, strict=True)), *self._rows]))
        else:
            append_text(self.path, self._text([row]))

    def _read(self, up_to: int) -> list[dict[str, Any]]:
        """Return the rows up to a number of clips.

        A damaged table is renamed, and its intact rows are kept. Only a truncated last row is dropped silently.
        """
        try:
            content = read_inside(self.path.parent, self.path.name, MAX_BYTES)
        except FileNotFoundError:
            return []
        lines = content.decode(errors="replace").replace("\0", "\ufffd").splitlines()
        if not lines:
            return []
        columns, *rows = [_fields(line) for line in lines]
        whole = [row for row in rows if _is_row(row, columns)]
        bad = len(rows) - len(whole) - (rows != [] and not _is_row(rows[-1], columns))
        whole_header = b"\n" in content and "\ufffd" not in lines[0] and len(set(columns)) == len(columns)
        if not whole_header or not {"step", "kimg"} <= set(columns):
            rank_zero_info(set_aside(self.path, "its header"))
            return []
        if bad:
            rank_zero_info(set_aside(self.path, f"{bad} of its rows"))
        self._columns = columns
        found = [dict(zip(columns, row, strict=True)) for row in whole]
        return [row for row in found if int(row["step"]) <= up_to]

    def _text(self, rows: list[dict[str, Any]]) -> str:
        """Return rows as CSV lines."""
        lines = StringIO()
        csv.DictWriter(lines, self._columns).writerows(rows)
        return lines.getvalue()


def _fields(line: str) -> list[str]:
    """Return the values of a CSV line; empty if it cannot be parsed."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _is_row(fields: list[str], columns: list[str]) -> bool:
    """Return whether every column has a number or is empty, and the step is a number of clips."""
    clips = dict(zip(columns, fields, strict=False)).get("step", "")
    try:
        _ = [float(value) for value in fields if value]
        return len(fields) == len(columns) and int(clips) >= 0
    except ValueError:
        return False
