"""The table of metrics: complete after every row, and continued by a resumed run."""

import csv
from pathlib import Path

import pytest
import torch

from audiogen import scalars
from audiogen.callbacks.metrics_csv import FILE_NAME, MetricsCSV
from audiogen.scalars import Scalar, Scalars, TakesDescriptions
from tests.full_disk import limited_files


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / FILE_NAME).open(newline="") as file:
        return list(csv.DictReader(file))


def header(folder: Path) -> list[str]:
    return (folder / FILE_NAME).read_text().splitlines()[0].split(",")


def resumed(folder: Path, clips: int) -> MetricsCSV:
    """Return the logger of a run that resumes from a checkpoint."""
    logger = MetricsCSV(folder)
    logger.resume_from(clips)
    return logger


def numbers(folder: Path, column: str) -> list[float | None]:
    return [float(row[column]) if row[column] else None for row in read(folder)]


def test_every_row_is_on_disk_at_once(tmp_path: Path) -> None:
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


def test_tensors_are_written_as_numbers_without_the_epoch(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": torch.tensor(0.5), "epoch": 3}, step=10)
    assert read(tmp_path) == [{"kimg": "0.01", "step": "10", "loss": "0.5"}]


def test_resumed_run_keeps_earlier_rows(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in (100, 200):
        first.log_metrics({"loss": step / 100}, step=step)
    resumed(tmp_path, 200).log_metrics({"loss": 3.0}, step=300)
    assert numbers(tmp_path, "step") == [100, 200, 300]
    assert numbers(tmp_path, "loss") == [1, 2, 3]


def test_resumed_run_replaces_the_rows_it_repeats(tmp_path: Path) -> None:
    stopped = MetricsCSV(tmp_path)
    for step in (100, 200, 300, 400):
        stopped.log_metrics({"loss": step / 100}, step=step)
    continued = resumed(tmp_path, 200)
    for step in (300, 400, 500):
        continued.log_metrics({"loss": -step / 100}, step=step)
    assert numbers(tmp_path, "step") == [100, 200, 300, 400, 500]
    assert numbers(tmp_path, "loss") == [1, 2, -3, -4, -5]


def test_resumed_run_may_add_columns_and_lack_others(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=100)
    resumed(tmp_path, 100).log_metrics({"fad": 2.0}, step=200)
    assert header(tmp_path) == ["kimg", "step", "fad", "loss"]
    assert numbers(tmp_path, "loss") == [1, None]
    assert numbers(tmp_path, "fad") == [None, 2]


def test_resumed_run_extends_the_row_of_the_step_it_resumes_from(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=100)
    resumed(tmp_path, 100).log_metrics({"fad": 2.0}, step=100)
    assert read(tmp_path) == [{"kimg": "0.1", "step": "100", "fad": "2.0", "loss": "1.0"}]


@pytest.mark.parametrize("torn", ["0.2", "0.2,20", "0.2,200,", "\x00\x00\x00", "kimg,step"])
def test_truncated_last_row_is_dropped(torn: str, tmp_path: Path) -> None:
    stopped = MetricsCSV(tmp_path)
    for step in (100, 200):
        stopped.log_metrics({"fad": 1.0, "loss": 2.0}, step=step)
    path = tmp_path / FILE_NAME
    path.write_text("\n".join([*path.read_text().splitlines()[:2], torn]))
    resumed(tmp_path, 100).log_metrics({"loss": 3.0}, step=200)
    assert numbers(tmp_path, "step") == [100, 200]
    assert numbers(tmp_path, "loss") == [2, 3]


def test_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=100)
    with limited_files(4), pytest.raises(OSError, match=r"File too large: .*metrics\.csv"):
        logger.log_metrics({"loss": 1.0}, step=200)


def test_rows_are_not_appended_through_a_link(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=100)
    (tmp_path / "mine").write_text("private")
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).symlink_to("mine")
    with pytest.raises(OSError, match=r"got a link: .*metrics\.csv"):
        logger.log_metrics({"loss": 1.0}, step=200)
    assert (tmp_path / "mine").read_text() == "private"


def test_empty_table_of_a_killed_run_is_continued(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    resumed(tmp_path, 0).log_metrics({"loss": 1.0}, step=100)
    assert read(tmp_path) == [{"kimg": "0.1", "step": "100", "loss": "1.0"}]


@pytest.mark.parametrize("damage", [b"\xff\x00\xfe", b"noise", b'"', b"x" * 200_000, b"nan,nan,nan"])
def test_damaged_table_is_renamed_and_its_intact_rows_are_kept(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped = MetricsCSV(tmp_path)
    for step in (100, 200, 300, 400):
        stopped.log_metrics({"loss": step / 100}, step=step)
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines()
    lines[2] = damage
    broken = b"\n".join(lines) + b"\n"
    path.write_bytes(broken)
    with caplog.at_level("INFO"):
        resumed(tmp_path, 400).log_metrics({"loss": 5.0}, step=500)
    assert numbers(tmp_path, "step") == [100, 300, 400, 500]
    assert path.with_name("metrics.csv.damaged").read_bytes() == broken
    assert "metrics.csv is damaged (1 of its rows): renamed to metrics.csv.damaged" in caplog.text


def test_table_with_a_damaged_header_is_renamed(tmp_path: Path) -> None:
    damages = [b"k\xffmg,step,loss\n0.1,100,1.0\n", b"kimg,step,lo", b"kimg,step,step\n"]
    for number, damage in enumerate(damages):
        name = f"metrics.csv{'' if number == 0 else f'.{number + 1}'}.damaged"
        (tmp_path / FILE_NAME).write_bytes(damage)
        resumed(tmp_path, 100).log_metrics({"loss": float(number)}, step=200)
        assert numbers(tmp_path, "step") == [200]
        assert (tmp_path / name).exists()


def test_metrics_of_one_step_share_a_row(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"loss": 1.0, "fad": 9.0}, step=100)
    logger.log_metrics({"fad": 2.0}, step=100)
    logger.log_metrics({"fad": 3.0}, step=200)
    assert numbers(tmp_path, "step") == [100, 200]
    assert numbers(tmp_path, "loss") == [1, None]
    assert numbers(tmp_path, "fad") == [2, 3]


def test_rows_have_kimg(tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=1500)
    assert numbers(tmp_path, "kimg") == [1.5]


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.fabric.utilities.rank_zero.rank_zero_only.rank", 1)
    MetricsCSV(tmp_path).log_metrics({"loss": 1.0}, step=100)
    assert list(tmp_path.iterdir()) == []


def described(folder: Path) -> list[Scalar]:
    return list(Scalars.from_json((folder / scalars.FILE_NAME).read_text(), "scalars.json"))


def test_descriptions_of_earlier_parts_of_a_run_are_kept(tmp_path: Path) -> None:
    old, new, other = Scalar("fad", "Old"), Scalar("fad", "New"), Scalar("kad", "Other")
    logger = MetricsCSV(tmp_path)
    assert isinstance(logger, TakesDescriptions)
    logger.describe_scalars(Scalars([other, old]))
    MetricsCSV(tmp_path).describe_scalars(Scalars([new]))
    assert described(tmp_path) == [new, other]


@pytest.mark.parametrize("content", [b"", b"[", b"\xff", b'[{"name": 1}]'])
def test_damaged_descriptions_are_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / scalars.FILE_NAME).write_bytes(content)
    MetricsCSV(tmp_path).describe_scalars(Scalars([Scalar("fad")]))
    assert described(tmp_path) == [Scalar("fad")]
