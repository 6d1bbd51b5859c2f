"""The table of metrics: complete after every row, and one table however often a run is continued."""

import csv
from pathlib import Path

import pytest
import torch

from audiogen.callbacks.metrics_csv import FILE_NAME, MetricsCSV


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / FILE_NAME).open(newline="") as file:
        return list(csv.DictReader(file))


def header(folder: Path) -> list[str]:
    return (folder / FILE_NAME).read_text().splitlines()[0].split(",")


def numbers(folder: Path, column: str) -> list[float | None]:
    return [float(row[column]) if row[column] else None for row in read(folder)]


def test_rows_are_on_disk_as_soon_as_they_are_logged(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path / "runs" / "new")
    for i in range(1, 4):
        logger.log_metrics({"loss": 1 / i}, step=100 * i)
        assert numbers(tmp_path / "runs" / "new", "step") == [100 * j for j in range(1, i + 1)]
    assert numbers(tmp_path / "runs" / "new", "loss") == [1, 1 / 2, 1 / 3]  # exactly


def test_row_with_known_columns_is_appended_without_rewriting_the_file(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=1)
    before = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(before.upper())
    logger.log_metrics({"loss": 2.0}, step=2)
    assert (tmp_path / FILE_NAME).read_bytes().startswith(before.upper())


def test_new_columns_leave_earlier_rows_blank(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=100)
    logger.log_metrics({"fad": 7.0}, step=200)
    logger.log_metrics({"loss": 3.0}, step=300)
    assert header(tmp_path) == ["kimg", "step", "fad", "loss"]
    assert numbers(tmp_path, "loss") == [1, None, 3]
    assert numbers(tmp_path, "fad") == [None, 7, None]


def test_tensors_become_numbers_and_the_epoch_is_left_out(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": torch.tensor(0.5), "epoch": 3}, step=10)
    assert read(tmp_path) == [{"kimg": "0.01", "step": "10", "loss": "0.5"}]


def test_continued_run_keeps_earlier_rows(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in (100, 200):
        first.log_metrics({"loss": step / 100}, step=step)
    MetricsCSV(tmp_path).log_metrics({"loss": 3.0}, step=300)
    assert numbers(tmp_path, "step") == [100, 200, 300]
    assert numbers(tmp_path, "loss") == [1, 2, 3]


def test_continued_run_replaces_the_rows_it_repeats(tmp_path: Path) -> None:
    stopped = MetricsCSV(tmp_path)
    for step in (100, 200, 300, 400):
        stopped.log_metrics({"loss": step / 100}, step=step)
    continued = MetricsCSV(tmp_path)  # from a checkpoint at 200
    for step in (300, 400, 500):
        continued.log_metrics({"loss": -step / 100}, step=step)
    assert numbers(tmp_path, "step") == [100, 200, 300, 400, 500]
    assert numbers(tmp_path, "loss") == [1, 2, -3, -4, -5]


def test_continued_run_may_add_columns_and_lack_others(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=100)
    MetricsCSV(tmp_path).log_metrics({"fad": 2.0}, step=200)
    assert header(tmp_path) == ["kimg", "step", "fad", "loss"]
    assert numbers(tmp_path, "loss") == [1, None]
    assert numbers(tmp_path, "fad") == [None, 2]


def test_file_left_empty_by_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=100)
    assert read(tmp_path) == [{"kimg": "0.1", "step": "100", "loss": "1.0"}]


def test_metrics_of_one_step_share_a_row(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0, "fad": 9.0}, step=100)
    logger.log_metrics({"fad": 2.0}, step=100)
    logger.log_metrics({"fad": 3.0}, step=200)
    assert numbers(tmp_path, "step") == [100, 200]
    assert numbers(tmp_path, "loss") == [1, None]
    assert numbers(tmp_path, "fad") == [2, 3]


def test_time_is_also_told_in_kimg(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=1500)
    assert numbers(tmp_path, "kimg") == [1.5]


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.fabric.utilities.rank_zero.rank_zero_only.rank", 1)
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=100)
    assert list(tmp_path.iterdir()) == []
