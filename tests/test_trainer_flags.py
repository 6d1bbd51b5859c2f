"""Every flag of the Trainer is honoured, or refused with advice."""

import csv
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch

from audiogen.callbacks.mode_collapse import ModeCollapse
from audiogen.cli import main
from audiogen.trainer_flags import HONOURED, REFUSED, check_flags
from tests.callbacks.test_evaluation import flags as evaluated
from tests.tiny_classifier import write_classifier
from tests.tiny_run import arguments, write_classes
from tests.tiny_transfer import bursts, melody, write, write_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"), {"low": 300, "high": 2000}, num=10)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    main(arguments(data, folder))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


def state(run: Path, kimg: str = "00000.024") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"kimg-{kimg}.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def validated(run: Path) -> list[str]:
    with (run / "metrics.csv").open() as file:
        return [row["kimg"] for row in csv.DictReader(file) if row.get("val/logits_real")]


def test_every_flag_has_a_rule_and_stands_in_the_docs() -> None:
    names = set(inspect.signature(lightning.Trainer.__init__).parameters) - {"self"}
    assert set(HONOURED) | set(REFUSED) == names
    assert not set(HONOURED) & set(REFUSED)
    page = Path("docs/trainer_flags.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("flag", "value", "advice"),
    [
        ("max_steps", 10, "--model.total_kimg"),
        ("min_steps", 10, "--model.total_kimg"),
        ("max_epochs", 3, "--model.total_kimg"),
        ("min_epochs", 3, "--model.total_kimg"),
        ("overfit_batches", 2, "a folder of a few sounds"),
        ("accumulate_grad_batches", 2, "--data.batch_size"),
        ("gradient_clip_val", 1.0, "--model.learning_rate"),
        ("gradient_clip_algorithm", "norm", "--model.learning_rate"),
        ("log_every_n_steps", 50, "--model.log_every_kimg"),
        ("use_distributed_sampler", True, "slice of every batch"),
        ("sync_batchnorm", True, "the batch of all processes"),
        ("barebones", True, "could not be continued"),
        ("limit_predict_batches", 1, "generate"),
        ("precision", "16-mixed", "--model.precision bf16"),
        ("precision", "bf16-true", "--model.precision bf16"),
        ("limit_train_batches", 0, "leaves nothing to fit"),
        ("limit_train_batches", 0.5, "give a number of batches"),
        ("check_val_every_n_epoch", 2, "--trainer.val_check_interval"),
    ],
)
def test_flags_that_would_change_or_do_nothing_are_refused(flag: str, value: Any, advice: str) -> None:
    harmless = {name: refusal.allowed[0] for name, refusal in REFUSED.items()}
    check_flags(harmless, "fit")
    with pytest.raises(ValueError, match=rf"^--trainer\.{flag} {value}.*{advice}"):
        check_flags(harmless | {flag: value}, "fit")


def test_a_refused_flag_leaves_no_run_directory(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it counts optimiser steps"):
        main(arguments(data, tmp_path / "run", 0.024, "--trainer.max_steps", "10"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("num", [1, 4])
def test_limited_batches_continue_in_the_stream(num: int, run: Path, data: Path, tmp_path: Path) -> None:
    main(arguments(data, tmp_path / "limited", 0.024, "--trainer.limit_train_batches", str(num)))
    assert same(state(run), state(tmp_path / "limited"))


def test_a_run_of_limited_batches_goes_on_exactly(run: Path, data: Path, tmp_path: Path) -> None:
    limited = ["--trainer.limit_train_batches", "4"]
    main(arguments(data, tmp_path / "limited", 0.008, *limited))
    main(arguments(data, tmp_path / "limited", 0.024, *limited, "--ckpt_path", "last"))
    assert same(state(run), state(tmp_path / "limited"))


@pytest.mark.parametrize(
    ("flags", "kimg"),
    [
        (["--trainer.val_check_interval", "2"], ["0.008", "0.016", "0.024"]),
        (["--trainer.val_check_interval", "4", "--trainer.check_val_every_n_epoch", "null"], ["0.016", "0.024"]),
        (["--trainer.limit_train_batches", "3"], ["0.012", "0.024"]),
        (["--trainer.limit_train_batches", "2", "--trainer.check_val_every_n_epoch", "2"], ["0.016"]),
        (["--trainer.limit_val_batches", "1"], ["0.024"]),
        (["--trainer.limit_val_batches", "0"], []),
    ],
)
def test_validation_comes_when_it_was_asked_for(flags: list[str], kimg: list[str], data: Path, tmp_path: Path) -> None:
    split = ["--data.dataset.init_args.val_fraction", "0.2"]
    main(arguments(data, tmp_path / "run", 0.024, *split, *flags))
    assert validated(tmp_path / "run") == kimg


@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.deterministic", "true"],
        ["--trainer.benchmark", "true"],
        ["--trainer.detect_anomaly", "true"],
        ["--trainer.profiler", "simple"],
        ["--trainer.inference_mode", "false"],
        ["--trainer.reload_dataloaders_every_n_epochs", "1", "--trainer.limit_train_batches", "2"],
        ["--trainer.num_sanity_val_steps", "1"],
    ],
    ids=lambda flags: flags[0],
)
def test_flags_that_only_look_or_check_change_no_weight(
    flags: list[str], run: Path, data: Path, tmp_path: Path
) -> None:
    main(arguments(data, tmp_path / "run", 0.024, *flags))
    assert same(state(run), state(tmp_path / "run"))


def test_max_time_ends_a_run_with_its_state_saved(data: Path, tmp_path: Path) -> None:
    main(arguments(data, tmp_path / "run", 1000, "--trainer.max_time", "00:00:00:01"))
    saved = max((tmp_path / "run" / "checkpoints").glob("kimg-*.ckpt"))
    assert 0 < torch.load(saved, weights_only=True)["clips_seen"] < 1_000_000


def test_fast_dev_run_goes_through_everything_and_keeps_nothing(
    data: Path,
    classifier: tuple[Path, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(ModeCollapse, "on_validation_end", lambda self, trainer, model: seen.append(model.clips_seen))
    run = tmp_path / "run"
    with caplog.at_level("INFO"):
        args = evaluated(classifier, run, 50.0, {"class_path": "audiogen.callbacks.mode_collapse.ModeCollapse"})
        main([*args, "--trainer.fast_dev_run", "3"])
    assert seen[-1] == 12
    assert "fast_dev_run: 3 batches were trained. Nothing was kept." in caplog.text
    assert not run.exists()
    main(arguments(data, run, 0.008))  # nothing is in the way of the real run


def test_fast_dev_run_of_style_transfer_makes_few_evaluations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.wav", melody()), write(tmp_path / "b.wav", bursts())
    (tmp_path / "pairs.csv").write_text("content,style\na.wav,b.wav\n")
    place = ["--data.root", str(tmp_path / "pairs.csv"), "--trainer.default_root_dir", str(tmp_path / "run")]
    with caplog.at_level("INFO"):
        main(["fit", "--config", str(write_config(tmp_path)), *place, "--trainer.fast_dev_run", "true"])
    assert "1 evaluations by lbfgs" in caplog.text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trainer.limit_val_batches", "0"], r"--trainer\.limit_val_batches 0 would switch off Evaluation"),
        (["--trainer.val_check_interval", "3"], "Evaluation sets when to validate.*every_kimg"),
        (
            ["--trainer.limit_train_batches", "4", "--trainer.check_val_every_n_epoch", "2"],
            "Evaluation sets when to validate.*every_kimg",
        ),
    ],
)
def test_flags_that_contradict_an_evaluation_are_refused(
    flags: list[str], message: str, classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        main([*evaluated(classifier, tmp_path / "run", 0.024), *flags])


def test_mode_collapse_without_validation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--trainer\.limit_val_batches 0 would switch off ModeCollapse"):
        ModeCollapse().setup(SimpleNamespace(limit_val_batches=0), None, "fit")  # type: ignore[arg-type]


def test_commands_without_batches_are_refused(run: Path, data: Path) -> None:
    args = ["validate", *arguments(data, run)[1:], "--ckpt_path", "last"]
    with pytest.raises(ValueError, match=r"--trainer\.limit_val_batches 0 leaves nothing to validate"):
        main([*args, "--trainer.limit_val_batches", "0"])
