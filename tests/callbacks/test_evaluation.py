"""Evaluation, early stopping and the best checkpoint in a tiny run."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

import audiogen
from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.callbacks.mode_collapse import EVENTS, ModeCollapse, restore_best
from audiogen.cli import main
from tests.tiny_classifier import write_classifier
from tests.tiny_run import arguments


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


def evaluation(classifier: Path, **settings: Any) -> dict[str, Any]:
    embedding = {
        "class_path": "audiogen.metrics.embeddings.classifier.Classifier",
        "init_args": {"weights": str(classifier)},
    }
    settings = {"embeddings": [embedding], "every_kimg": 0.008, "num_clips": 16} | settings
    return {"class_path": "audiogen.callbacks.evaluation.Evaluation", "init_args": settings}


def flags(
    classifier: tuple[Path, Path], run: Path, kimg: float, *callbacks: dict[str, Any], **settings: Any
) -> list[str]:
    """Return the command line of a tiny run with evaluation, on the classifier's data and spectrograms."""
    data, weights = classifier
    args = arguments(data, run, kimg, "--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20")
    at = args.index("--trainer.callbacks") + 1
    args[at] = json.dumps([evaluation(weights, **settings), *callbacks])
    return [*args, "--checkpoint.every_kimg", "0.016"]


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(classifier: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    main(flags(classifier, folder, 0.024))
    return folder


def test_metrics_are_logged_by_kimg_beside_those_of_real_clips(run: Path) -> None:
    rows = [row for row in read_metrics(run) if row["fad"]]
    assert [row["kimg"] for row in rows] == ["0.008", "0.016", "0.024"]
    expected = {"fad", "fad_floor", "fad_classifier", "kad_classifier", "coherence", "coherence_real", "class_entropy"}
    expected |= {"coverage_classifier", "diversity_min_classifier", "vendi_classifier", "evaluation/time_fraction"}
    expected |= {"val/logits_real", "val/logits_train", "val/logits_fake"}
    for row in rows:
        assert all(math.isfinite(float(row[name])) for name in expected)
    assert float(rows[0]["coherence_real"]) >= 0.75
    assert float(rows[0]["fad_floor"]) < float(rows[0]["fad"])


def test_best_checkpoint_is_that_of_the_least_distance(run: Path) -> None:
    rows = [row for row in read_metrics(run) if row["fad"]]
    best = min(rows, key=lambda row: float(row["fad"]))
    saved = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["clips_seen"] == int(best["step"])
    assert audiogen.load(run).clips_seen == 24  # of a run directory it is the newest


def test_evaluation_changes_nothing_in_the_training(classifier: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    main(flags(classifier, tmp_path / "rare", 0.024, every_kimg=0.024))
    states = [torch.load(r / "checkpoints/kimg-00000.024.ckpt", weights_only=True) for r in (run, tmp_path / "rare")]
    for name, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][name]), name


def test_lightnings_own_callbacks_find_the_metrics(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"monitor": "fad", "dirpath": str(tmp_path / "theirs"), "filename": "{fad:.2f}"},
    }
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "coherence", "mode": "max", "patience": 1, "min_delta": 1.0},
    }
    main(flags(classifier, tmp_path / "run", 0.1, checkpoint, stopping))
    rows = [row for row in read_metrics(tmp_path / "run") if row["fad"]]
    assert [row["kimg"] for row in rows] == ["0.008", "0.016"]  # stopped at the second
    (saved,) = (tmp_path / "theirs").iterdir()
    assert float(saved.stem.removeprefix("fad=")) == pytest.approx(min(float(row["fad"]) for row in rows), abs=0.01)


def test_test_verb_reports_by_test_clips_only_where_there_are_some(
    classifier: tuple[Path, Path], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = flags(classifier, run, 0.024)
    main(["validate", *args[1:]])
    assert "val/fad_classifier" in capsys.readouterr().out
    with pytest.raises(ValueError, match="this data set has no test split"):
        main(["test", *args[1:]])


def test_data_without_validation_clips_are_refused(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs validation clips, but this data set has none"):
        main([*flags(classifier, tmp_path / "run", 0.008), "--data.dataset.init_args.val_fraction", "0"])


def test_too_few_clips_are_refused_before_training(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in 4 features needs 5 clips, got 8 real and 4 generated ones"):
        main(flags(classifier, tmp_path / "run", 0.008, num_clips=4))


def watched(**rule: Any) -> dict[str, Any]:
    settings = {"name": "test", "against": "nothing", "patience": 1, "stop": True, "meaning": "a test", **rule}
    init_args = {"rules": [settings], "warm_up_kimg": 0.0}
    return {"class_path": "audiogen.callbacks.mode_collapse.ModeCollapse", "init_args": init_args}


def test_an_alarm_stops_the_run_restores_the_best_and_says_what_it_saw(
    classifier: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rule = watched(signal="val/logits_real", high=-1e9, patience=2)  # the second evaluation is alarming
    with caplog.at_level("INFO"):
        main(flags(classifier, tmp_path / "run", 0.1, rule))
    assert "Mode collapse: test. val/logits_real is" in caplog.text
    assert "Stopped at 0.0 kimg. The averaged generator was restored to the best one, at 0.0 kimg." in caplog.text
    (event,) = [json.loads(line) for line in (tmp_path / "run" / EVENTS).read_text().splitlines()]
    assert (event["rule"], event["stop"], event["kimg"]) == ("test", True, 0.016)
    assert "a test" in event["text"]
    assert [p.name for p in sorted((tmp_path / "run/checkpoints").iterdir())] == ["best.ckpt", "kimg-00000.016.ckpt"]


def test_an_alarm_of_the_training_itself_stops_too_and_a_warning_does_not(
    classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    rule = watched(signal="loss/discriminator", low=1e9, stop=False)
    main(flags(classifier, tmp_path / "warned", 0.016, rule))
    assert audiogen.load(tmp_path / "warned").clips_seen == 16
    main(flags(classifier, tmp_path / "stopped", 0.032, watched(signal="loss/discriminator", low=1e9), every_kimg=0.02))
    assert audiogen.load(tmp_path / "stopped").clips_seen == 8


def test_restoring_puts_the_averaged_weights_of_the_best_checkpoint_back(run: Path) -> None:
    model: Any = audiogen.load(run)
    wanted = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    raw = {name: tensor.clone() for name, tensor in model.generator.state_dict().items()}
    with torch.no_grad():
        for weight in model.generator_ema.parameters():
            weight.zero_()
    trainer = lightning.Trainer(default_root_dir=run, logger=False, accelerator="cpu")
    assert "the best one" in restore_best(trainer, model)
    for name, tensor in model.generator_ema.state_dict().items():
        assert torch.equal(tensor, wanted[f"generator_ema.{name}"]), name
    assert all(torch.equal(tensor, raw[name]) for name, tensor in model.generator.state_dict().items())


def test_without_a_best_checkpoint_it_says_so(tmp_path: Path) -> None:
    trainer = lightning.Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu")
    assert "no best checkpoint" in restore_best(trainer, None)


def test_two_evaluations_are_refused(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two evaluation callbacks: list all embeddings in one"):
        main(flags(classifier, tmp_path / "run", 0.008, evaluation(classifier[1])))


def test_a_classifier_that_is_missing_is_told_with_how_to_train_it(
    classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=r"no classifier .*nowhere: train one with `python -m audiogen fit"):
        main(flags((classifier[0], tmp_path / "nowhere"), tmp_path / "run", 0.008))


SOON = {"name": "soon", "signal": "loss/generator", "high": 0.0, "stop": True}
COLLAPSE = {
    "class_path": "audiogen.callbacks.mode_collapse.ModeCollapse",
    "init_args": {"rules": [SOON], "warm_up_kimg": 0.016},
}


def all_reduce_mean(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(max((run / "checkpoints").glob("kimg-*")), weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("generator_ema")}


def test_a_run_that_was_stopped_before_a_collapse_stays_so_whatever_happens_then(
    classifier: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stopped at 16 clips of 32, where a checkpoint is saved too, then evaluated, and the best average is put back.
    whole, killed = (flags(classifier, tmp_path / name, 0.032, COLLAPSE) for name in ("whole", "killed"))
    main(whole)
    with monkeypatch.context() as patch:

        def die(*given: Any) -> None:
            raise MemoryError("as if it were killed")

        patch.setattr(ModeCollapse, "on_validation_end", die)
        patch.setattr(KimgCheckpoint, "on_validation_end", lambda *given: given[1].clips_seen < 16 or die())
        with pytest.raises(MemoryError):
            main([*killed])
    main(killed)
    for _ in range(2):  # and again, now that it has ended
        assert [row["step"] for row in read_metrics(tmp_path / "killed")][-1] == "16"
        assert all_reduce_mean(tmp_path / "whole").keys() == all_reduce_mean(tmp_path / "killed").keys()
        for name, value in all_reduce_mean(tmp_path / "whole").items():
            assert torch.equal(value, all_reduce_mean(tmp_path / "killed")[name]), name
        main(killed)
    main([*killed, "--model.learning_rate", "1e-4", "--ckpt_path", "last"])  # other settings go on
    assert int(read_metrics(tmp_path / "killed")[-1]["step"]) > 16


def test_a_continued_run_is_evaluated_and_watched_as_one_that_was_never_stopped(
    classifier: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    main(flags(classifier, tmp_path / "parts", 0.016))
    main([*flags(classifier, tmp_path / "parts", 0.024), "--ckpt_path", "last"])
    rows = [[(row["kimg"], row["fad"]) for row in read_metrics(folder)] for folder in (run, tmp_path / "parts")]
    assert rows[0] == rows[1]
    states = [torch.load(f / "checkpoints/kimg-00000.024.ckpt", weights_only=True) for f in (run, tmp_path / "parts")]
    for name, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][name]), name
