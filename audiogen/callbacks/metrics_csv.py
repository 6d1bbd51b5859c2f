"""Keep all logged figures in one table, `metrics.csv`, which goes on where a continued run goes on."""

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

FILE_NAME = "metrics.csv"


class MetricsCSV(Logger):
    """Write each row as it is logged. Lightning's CSVLogger deletes the table when a run is continued.

    Args:
        folder: The run directory.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / FILE_NAME
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] | None = None

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
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row; `step` counts clips. A step already in the table, from before a stop, is replaced."""
        clips = int(step or 0)
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        row: dict[str, Any] = {**values, "step": clips, "kimg": clips / 1000}
        fresh = self._rows is None
        rows = self._read(before=clips) if self._rows is None else self._rows
        if rows and int(rows[-1]["step"]) == clips:  # a second logging at the same time
            row = rows.pop() | row
            fresh = True
        rows.append(row)
        self._rows = rows
        columns = sorted({*self._columns, *row}, key=lambda name: (name not in ("step", "kimg"), name))
        if fresh or columns != self._columns:
            self._columns = columns
            self._write(rows, "w")
        else:
            self._write([row], "a")

    def _read(self, before: int) -> list[dict[str, Any]]:
        """Return the rows of an earlier part of this run."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            self._columns = list(reader.fieldnames or [])
            return [row for row in reader if int(row["step"]) < before]

    def _write(self, rows: list[dict[str, Any]], mode: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open(mode, newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            if mode == "w":
                writer.writeheader()
            writer.writerows(rows)
