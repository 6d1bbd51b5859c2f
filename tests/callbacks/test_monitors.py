"""A callback that monitors what is never logged is refused before training; names that are logged are known before."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from audiogen.callbacks import interruption
from audiogen.callbacks.monitors import LogsMetrics, check_monitors
from audiogen.cli import main
from tests.test_distributed import command_lines
from tests.tiny_classifier import write_classifier
from tests.tiny_run import arguments, write_classes


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.mark.parametrize("model", ["StyleGAN2", "StyleGAN2 in float64", "MelGAN-VC", "Classifier"])
def test_names_known_at_the_start_are_those_that_are_logged(
    model: str, classifier: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: set[str] = set()

    def spy(trainer: Any, pl_module: Any) -> None:
        known.update(pl_module.metric_names())
        for callback in trainer.callbacks:
            if isinstance(callback, LogsMetrics):
                known.update(callback.metric_names() or {"unknown"})
        check_monitors(trainer, pl_module)

    monkeypatch.setattr(interruption, "check_monitors", spy)
    main(command_lines(classifier, tmp_path / "run")[model])  # the one in float64 seeks modes
    with (tmp_path / "run" / "metrics.csv").open() as file:
        logged = set(next(csv.reader(file)))
    assert logged - {"step", "kimg"} == known


@pytest.mark.parametrize(
    ("callback", "monitor"),
    [
        ("lightning.pytorch.callbacks.EarlyStopping", "fadd"),
        ("lightning.pytorch.callbacks.ModelCheckpoint", "loss/generatr"),
        ("lightning.pytorch.callbacks.EarlyStopping", "val/accuracy"),
    ],
)
def test_a_callback_that_monitors_what_is_never_logged_is_refused_before_training(
    callback: str, monitor: str, tmp_path: Path
) -> None:
    data = write_classes(tmp_path / "data", {"low": 300, "high": 2000})
    args = arguments(data, tmp_path / "run")
    added = [{"class_path": callback, "init_args": {"monitor": monitor}}]
    args[args.index("--trainer.callbacks") + 1] = json.dumps(added)
    name = callback.rpartition(".")[2]
    with pytest.raises(ValueError, match=f"{name} monitors '{monitor}', which this run does not log. It logs .*loss"):
        main(args)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_name_that_is_logged_may_be_monitored(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"low": 300, "high": 2000})
    args = arguments(data, tmp_path / "run", 0.008)
    settings = {"monitor": "loss/generator", "patience": 9, "check_on_train_epoch_end": True}
    added = [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": settings}]
    args[args.index("--trainer.callbacks") + 1] = json.dumps(added)
    main(args)
    assert (tmp_path / "run" / "metrics.csv").exists()
