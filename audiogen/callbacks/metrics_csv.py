"""Keep all logged figures in one table, `metrics.csv`, which goes on where a continued run goes on."""

import csv
from argparse import Namespace
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from audiogen.atomic import append_text, write_text
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
        try:
            text = read_inside(self.path.parent, self.path.name, MAX_BYTES).decode()
        except FileNotFoundError:
            return []
        reader = csv.DictReader(StringIO(text, newline=""))
        self._columns = list(reader.fieldnames or [])
        rows = [row for row in reader if None not in row.values()]  # a row may have been cut off
        return [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= up_to]

    def _text(self, rows: list[dict[str, Any]]) -> str:
        """Return rows as lines of the table."""
        lines = StringIO()
        csv.DictWriter(lines, self._columns).writerows(rows)
        return lines.getvalue()
