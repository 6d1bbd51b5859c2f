"""Keep all logged metrics in one table, `metrics.csv`, which goes on where a continued run goes on."""

import csv
from argparse import Namespace
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from audiogen.atomic import append_text, write_text
from audiogen.damaged import set_aside
from audiogen.untrusted import read_inside

FILE_NAME = "metrics.csv"
MAX_BYTES = 1 << 28


class MetricsCSV(Logger):
    """Write each row as it is logged. Lightning's CSVLogger deletes the table when a run is continued.

    Args:
        folder: The run directory.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / FILE_NAME
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._fresh = True  # nothing was written yet

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """A run directory holds one run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Ignore them: config.yaml has them."""

    @rank_zero_only
    def go_on_from(self, clips_seen: int) -> None:
        """Take the rows of an earlier part of this run, up to where it goes on."""
        self._rows = self._read(clips_seen)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row, or add to the last one; `step` counts clips."""
        clips = int(step or 0)
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        row: dict[str, Any] = {**values, "step": clips, "kimg": clips / 1000}
        if self._rows and int(self._rows[-1]["step"]) == clips:  # a second logging at the same time
            row = self._rows.pop() | row
            self._fresh = True
        self._rows.append(row)
        columns = sorted({*self._columns, *row}, key=lambda name: (name not in ("step", "kimg"), name))
        if self._fresh or columns != self._columns:
            self._columns, self._fresh = columns, False
            write_text(self.path, self._text([dict(zip(columns, columns, strict=True)), *self._rows]))
        else:
            append_text(self.path, self._text([row]))

    def _read(self, up_to: int) -> list[dict[str, Any]]:
        """Return the rows up to a number of clips; a damaged table is set aside, and its whole rows are kept."""
        try:
            content = read_inside(self.path.parent, self.path.name, MAX_BYTES)
        except FileNotFoundError:
            return []
        lines = content.decode(errors="replace").replace("\0", "\ufffd").splitlines()
        if not lines:
            return []
        columns, *rows = [_fields(line) for line in lines]
        whole = [row for row in rows if _is_row(row, columns)]
        bad = len(rows) - len(whole) - (rows != [] and not _is_row(rows[-1], columns))  # the last one may be cut off
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
        """Return rows as lines of the table."""
        lines = StringIO()
        csv.DictWriter(lines, self._columns).writerows(rows)
        return lines.getvalue()


def _fields(line: str) -> list[str]:
    """Return the values in a line of a table; none where it is no such line."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _is_row(fields: list[str], columns: list[str]) -> bool:
    """Return whether a row has a number or nothing in each column, and a number of clips."""
    clips = dict(zip(columns, fields, strict=False)).get("step", "")
    try:
        _ = [float(value) for value in fields if value]
        return len(fields) == len(columns) and int(clips) >= 0
    except ValueError:
        return False
