"""The W&B logger, offline: what a run leaves on disk."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audiogen.callbacks.wandb_logger import ID_FILE, KimgWandbLogger
from audiogen.cli import main
from tests.tiny_classifier import write_classifier
from tests.tiny_run import arguments


def read(run: Path) -> list[dict[str, Any]]:
    """Return the records that W&B stored of the (only) run in a run directory."""
    (path,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_run_on_disk_has_metrics_by_kimg_pictures_sounds_and_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = write_classifier(tmp_path)
    more = ["--config", "configs/trainer/wandb.yaml", "--trainer.logger.init_args.mode", "offline"]
    main(arguments(data, tmp_path / "run", 0.016, *more))
    import wandb

    wandb.finish()
    records = json.dumps(read(tmp_path / "run"))
    for name in ("loss/generator", "logits/real", "samples/generated", "sounds/low/real", "sounds/high/generated"):
        assert name in records
    assert "total_kimg" in records
    assert "minibatch_stddev/ratio" in records
    assert "Collapse signals" in records  # the descriptions
    assert (tmp_path / "run" / ID_FILE).read_text() in records


def test_a_continued_run_has_the_same_id_and_another_run_another(tmp_path: Path) -> None:
    ids = []
    for folder in ("a", "a", "b"):
        logger = KimgWandbLogger(save_dir=str(tmp_path / folder), mode="disabled")
        logger.log_metrics({"x": 1.0}, step=1000)
        ids.append((tmp_path / folder / ID_FILE).read_text())
        logger.experiment.finish()
    assert ids[0] == ids[1] != ids[2]


def test_without_a_key_the_run_is_kept_on_disk_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # a key, and no server
    logger = KimgWandbLogger(save_dir=str(tmp_path / "run"), timeout_seconds=2)
    with pytest.warns(UserWarning, match="W&B cannot be reached .*: the run is kept on disk"):
        logger.log_metrics({"x": 1.0}, step=1000)
    logger.experiment.finish()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


class Experiment:
    """Takes artifacts, as a W&B run does."""

    id = "abc"

    def __init__(self, mode: str) -> None:
        self.settings = type("Settings", (), {"mode": mode})
        self.logged: list[tuple[Any, list[str]]] = []

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.logged.append((artifact, aliases))


@pytest.mark.parametrize(("mode", "num"), [("online", 1), ("offline", 0)])
def test_best_checkpoint_is_uploaded_where_there_is_a_server(mode: str, num: int, tmp_path: Path) -> None:
    logger, experiment = KimgWandbLogger(save_dir=str(tmp_path)), Experiment(mode)
    logger._experiment = experiment  # type: ignore[assignment]
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    logger.log_checkpoint(tmp_path / "best.ckpt", {"fad": 2.5, "kimg": 30.0})
    assert len(experiment.logged) == num
    for artifact, aliases in experiment.logged:
        assert (artifact.name, artifact.type, aliases) == ("abc-best", "model", ["best"])
        assert artifact.metadata == {"fad": 2.5, "kimg": 30.0}
        assert "best.ckpt" in artifact.manifest.entries
