"""The metric and the embedding of docs/add_a_metric.md, copied into a module of a user and trained with."""

import csv
import math
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from audiogen.callbacks.metrics_csv import FILE_NAME
from audiogen.cli import main
from audiogen.commands.dashboard import workspace
from audiogen.commands.report import report
from audiogen.curves import Table, parse_table
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.scalars import FILE_NAME as SCALARS
from audiogen.scalars import Scalars
from tests.tiny_run import arguments, write_classes

PAGE = Path("docs/add_a_metric.md").read_text()
PACKAGE = Path("audiogen")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run directory that was trained with the module; afterwards, the module cannot be imported."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "my_metrics.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    content = yaml.safe_load(config)
    content["trainer"]["callbacks+"][0]["init_args"] |= {"every_kimg": 0.008, "num_clips": 12}
    (folder / "more.yaml").write_text(yaml.safe_dump(content))
    data = write_classes(folder / "data", {"low": 300.0, "high": 2000.0}, num=30)
    args = arguments(data, folder / "run", 0.008)
    at = args.index("--trainer.callbacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        main([*args[:at], *args[at + 2 :], "--config", str(folder / "more.yaml")])
    del sys.modules["my_metrics"]
    with pytest.raises(ImportError):
        import_module("my_metrics")
    return folder / "run"


def described(run: Path) -> Table:
    scalars = Scalars.from_json((run / SCALARS).read_text(), SCALARS)
    return parse_table((run / FILE_NAME).read_text(), FILE_NAME, scalars)


def test_metric_is_logged_with_its_reference_overall_and_per_class(run: Path) -> None:
    with (run / FILE_NAME).open() as file:
        row = list(csv.DictReader(file))[-1]
    names = [
        f"{name}{label}" for name in ("novelty_loudness", "novelty_loudness_real") for label in ("", "/low", "/high")
    ]
    for name in (*names, "fad_loudness", "fad_loudness_floor", "fad"):
        assert math.isfinite(float(row[name])), name


def test_metric_is_drawn_under_its_own_heading_with_its_direction_and_reference(run: Path) -> None:
    table = described(run)
    (plot,) = table.plots()["Novelty"]
    assert list(plot.curves) == ["novelty_loudness"]
    assert plot.references["novelty_loudness"] == ("real", table.curves["novelty_loudness_real"][-1].value)
    values = [point.value for point in table.curves["novelty_loudness"]]
    best = table.best("novelty_loudness")
    assert best is not None
    assert best.value == max(values)
    (of_classes,) = [plot for plot in table.plots()["Per class"] if plot.title == "novelty_loudness"]
    assert set(of_classes.references) == set(of_classes.curves) == {"novelty_loudness/low", "novelty_loudness/high"}


def test_everything_that_the_run_logs_is_described(run: Path) -> None:
    assert "Further" not in described(run).plots()


def test_report_and_dashboard_show_the_metric_without_its_code(run: Path) -> None:
    page = report(str(run)).page.read_text()
    assert "<h2>Novelty</h2>" in page
    assert re.search(r"<td>novelty_loudness</td>.*real \d", page)
    pytest.importorskip("wandb_workspaces.workspaces", reason="needs the 'dashboard' extra")
    made = workspace("project", "team", described(run).scalars)
    (panel,) = next(section for section in made.sections if section.name == "Novelty").panels
    assert panel.y == ["novelty_loudness", "novelty_loudness_real"]


def test_no_module_that_draws_names_a_metric() -> None:
    names = re.findall(r"`(\w+?)(?:_e)?`", PAGE.split("| Score |")[1].split("\n\n")[0])
    assert {"fad", "kad", "vendi", "coherence"} <= set(names)
    for path in ("curves.py", "pictures.py", "callbacks/progress.py", "commands/report.py", "commands/dashboard.py"):
        text = re.sub(r'""".*?"""', "", (PACKAGE / path).read_text(), flags=re.DOTALL)
        assert [name for name in names if re.search(rf"\b{name}\b", text)] == [], path


def test_every_embedding_of_the_page_exists() -> None:
    table = PAGE.split("| `class_path` ends in |")[1].split("\n\n")[0]
    found = re.findall(r"`([a-z]+)\.([A-Z]\w+)`", table)
    assert len(found) == 5
    for module, name in found:
        assert issubclass(getattr(import_module(f"audiogen.metrics.embeddings.{module}"), name), Embedding)
