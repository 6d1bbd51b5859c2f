"""A data set from outside the package, and the table of those in it, as docs/add_a_dataset.md shows them."""

import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

import audiogen.data.datasets as PACKAGE
from audiogen import load
from audiogen.cli import main
from audiogen.data.datasets.dataset import AudioDataset
from tests.tiny_run import arguments, write_classes

TEXT = Path("docs/add_a_dataset.md").read_text()
ENTRIES = [yaml.safe_load(entry) for entry in re.findall(r"^\|.*`(\{class_path.*\})` \|$", TEXT, re.M)]


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the document's data set, config and test into files of a folder outside the package that is on the path."""
    dataset, test = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    (tmp_path / "my_birds.py").write_text(dataset)
    (tmp_path / "test_my_birds.py").write_text(test)
    (tmp_path / "my_birds.yaml").write_text(re.findall(r"```yaml\n(.*?)```", TEXT, re.S)[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_birds", None)


def test_documented_data_set_trains(documented: Path) -> None:
    data = write_classes(documented / "data", {"wren": 300, "owl": 2000})
    for path in sorted(data.rglob("*.wav")):
        path.rename(data / f"{path.parent.name}-{path.stem}.wav")
    tiny = arguments(data, documented / "run", 0.008, "--config", str(documented / "my_birds.yaml"))
    main(tiny)
    (documented / "my_birds.py").unlink()
    assert load(documented / "run").label_names == ["owl", "wren"]
    saved = yaml.safe_load((documented / "run" / "config.yaml").read_text())
    assert saved["data"]["dataset"] == {"class_path": "my_birds.Birds", "init_args": {"val_every": 5}}


def test_documented_test_passes(documented: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{documented}{os.pathsep}{Path.cwd()}"}
    command = [sys.executable, "-m", "pytest", "-q", "test_my_birds.py"]
    done = subprocess.run(command, cwd=documented, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["class_path"].rsplit(".", 1)[1])
def test_entry_of_the_table_makes_its_data_set_and_names_all_arguments(entry: dict[str, Any]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--dataset", type=AudioDataset)
    config = parser.parse_object({"dataset": entry})
    dataset = parser.instantiate_classes(config).dataset
    assert f"{type(dataset).__module__}.{type(dataset).__name__}" == entry["class_path"]
    assert yaml.safe_load(parser.dump(config, skip_none=False)) == {"dataset": entry}
    parameters = inspect.signature(type(dataset)).parameters
    assert set(entry["init_args"]) == set(parameters)
    defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert {name: _plain(value) for name, value in defaults.items()}.items() <= entry["init_args"].items()


def test_table_has_every_data_set_of_the_package() -> None:
    modules = [import_module(f"{PACKAGE.__name__}.{module.name}") for module in pkgutil.iter_modules(PACKAGE.__path__)]
    classes = {
        f"{item.__module__}.{item.__name__}"
        for module in modules
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, AudioDataset) and item is not AudioDataset
    }
    assert {entry["class_path"] for entry in ENTRIES} == classes


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
