"""Several processes train the same as one: the same clips, the same noise, the same weights."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from audiogen import rng
from audiogen.cli import main
from audiogen.models import melgan_vc
from audiogen.signals import EXIT_AGAIN
from tests.tiny_classifier import classifier_arguments, write_classifier
from tests.tiny_conversion import conversion_arguments
from tests.tiny_run import arguments
from tests.tiny_transfer import bursts, clicks, melody, write, write_config

PAIR = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


def with_callbacks(args: list[str], classifier: Path, method: str) -> list[str]:
    """Replace the callbacks by an evaluation."""
    embedding = {
        "class_path": "audiogen.metrics.embeddings.classifier.Classifier",
        "init_args": {"weights": str(classifier)},
    }
    evaluation: dict[str, Any] = {
        "class_path": "audiogen.callbacks.evaluation.Evaluation",
        # One more than two whole batches, so that the second process has no clip of the last one.
        "init_args": {"embeddings": [embedding], "every_kimg": 0.08, "num_clips": 129},
    }
    if method == "convert":
        evaluation["class_path"] = "audiogen.callbacks.conversion.ConversionEvaluation"
        evaluation["init_args"] = {"domain": embedding, "every_kimg": 0.08}
    args[args.index("--trainer.callbacks") + 1] = json.dumps([evaluation])
    return [*args, "--checkpoint.every_kimg", "0.08"]


def command_lines(classifier: tuple[Path, Path], run: Path) -> dict[str, list[str]]:
    """Return command lines of 20 steps with 8 clips each, by model."""
    data, weights = classifier
    scale = ["--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20", "--data.batch_size", "8"]
    full = ["--model.precision", "fp32"]
    gan = [*scale, *full, "--model.style_mixing", "0.5"]
    exact = ["--trainer.precision", "64-true", "--model.mode_seeking_weight", "0.1"]
    both = ["--model.targets", "all", "--model.cycle_weight", "1", "--model.pairs", "clip", "--data.domains", "true"]
    conversion = ["--data.batch_size", "8", *full, *both, "--data.transform.num_frames", "24"]
    return {
        "StyleGAN2": with_callbacks(arguments(data, run, 0.16, *gan), weights, "sample"),
        "StyleGAN2 in float64": with_callbacks(arguments(data, run, 0.16, *gan, *exact), weights, "sample"),
        "MelGAN-VC": conversion_arguments(data, run, 0.16, *conversion),
        # 20 validation clips: two batches in one process, one smaller batch in the other
        "Classifier": [
            "fit",
            *classifier_arguments(data, run, 0.16, *full, "--data.dataset.init_args.val_fraction", "0.25"),
        ],
    }


def run_command(args: list[str], status: int = 0) -> str:
    """Run a command line as a user would, and return its output."""
    done = subprocess.run([sys.executable, "-m", "audiogen", *args], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr


def last_state(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "kimg-00000.160.ckpt", weights_only=True)["state_dict"]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pair(classifier: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train a StyleGAN2 in two processes; return the run and its output."""
    run = tmp_path_factory.mktemp("pair") / "run"
    return run, run_command([*command_lines(classifier, run)["StyleGAN2"], *PAIR])


@pytest.mark.parametrize("model", ["StyleGAN2", "StyleGAN2 in float64", "MelGAN-VC", "Classifier"])
def test_two_processes_with_half_the_batch_each_train_the_same_weights_as_one(
    model: str, classifier: tuple[Path, Path], pair: tuple[Path, str], tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    main(command_lines(classifier, alone)[model])
    if model == "StyleGAN2":
        together, said = pair
    else:
        said = run_command([*command_lines(classifier, together)[model], *PAIR])
    assert "batch 8 (4 in each of 2 processes)" in said
    assert "Warning" not in said
    one, two = last_state(alone), last_state(together)
    assert one.keys() == two.keys()
    for name, value in one.items():
        bound = 1e-12 if value.dtype == torch.float64 else 1e-5  # Adam turns rounding of small gradients into steps
        assert torch.allclose(value, two[name], rtol=bound, atol=bound), name
    assert sorted(p.relative_to(together) for p in together.rglob("*")) == sorted(
        p.relative_to(alone) for p in alone.rglob("*")
    )
    assert model != "Classifier" or float(rows(together)[-1]["val/accuracy"]) > 0
    for ours, theirs in zip(rows(alone), rows(together), strict=True):
        # These differ: clock times, means of ratios, and logits of other latents for other clips.
        free = ("speed/", "evaluation/", "minibatch_stddev", "val/logits_train", "val/logits_fake")
        for name in [name for name in ours if not name.startswith(free)]:
            assert bool(ours[name]) == bool(theirs[name]), name
            if ours[name]:
                assert float(theirs[name]) == pytest.approx(float(ours[name]), rel=1e-2, abs=1e-3), name


def test_processes_optimise_their_own_pairs_and_one_writes_the_results(tmp_path: Path) -> None:
    config = write_config(tmp_path, iterations=6)
    for name, sound in (("a", melody(0.8)), ("b", clicks(8, 0.6)), ("c", bursts(1.0))):
        write(tmp_path / f"{name}.wav", sound)
    (tmp_path / "pairs.csv").write_text("content,style\na.wav,b.wav\na.wav,c.wav\nb.wav,c.wav\n")
    found = []
    for name, more in (("alone", []), ("pair", PAIR)):
        paths = ["--data.root", str(tmp_path / "pairs.csv"), "--trainer.default_root_dir", str(tmp_path / name)]
        run_command(["fit", "--config", str(config), "--data.batch_size", "2", *paths, *more])
        samples = tmp_path / name / "samples"
        found.append((sorted(p.name for p in samples.iterdir()), json.loads((samples / "losses.json").read_text())))
    (names, losses), (other_names, other_losses) = found
    assert names == other_names
    assert len(names) == 2 * 3 + 1
    for name, row in losses.items():
        assert other_losses[name] == pytest.approx(row, rel=1e-3), name


def test_all_processes_stop_together_before_a_collapse(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    rule = {"name": "soon", "signal": "loss/generator", "high": 0.0, "patience": 2, "stop": True}
    args = command_lines(classifier, tmp_path / "run")["StyleGAN2"]
    position = args.index("--trainer.callbacks") + 1
    watch = {
        "class_path": "audiogen.callbacks.mode_collapse.ModeCollapse",
        "init_args": {"rules": [rule], "warm_up_kimg": 0.05},
    }
    args[position] = json.dumps([*json.loads(args[position]), watch])
    said = run_command([*args, *PAIR])
    assert "Stopped at" in said
    assert int(rows(tmp_path / "run")[-1]["step"]) < 160


def test_processes_that_may_lack_a_domain_are_refused(
    classifier: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(melgan_vc, "num_processes", lambda: 2)
    with pytest.raises(ValueError, match=r"clips of every domain: set --data.domains true"):
        main([*command_lines(classifier, tmp_path)["MelGAN-VC"], "--data.domains", "false"])


class SignalWhileEvaluating(lightning.Callback):
    """Send the second of two processes a signal when its first evaluation begins."""

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.global_rank == 1 and pl_module.clips_seen == 80:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_signal_to_one_of_two_processes_ends_the_evaluation_of_both(
    classifier: tuple[Path, Path], pair: tuple[Path, str], tmp_path: Path
) -> None:
    run = command_lines(classifier, tmp_path / "run")["StyleGAN2"]
    signalled = ["--trainer.callbacks+", f"tests.test_distributed.{SignalWhileEvaluating.__name__}"]
    said = run_command([*run, *PAIR, *signalled], status=EXIT_AGAIN)
    assert "Stopped by a signal to another process at 0.08 kimg" in said
    assert all(not row.get("fad") for row in rows(tmp_path / "run"))
    run_command([*run, *PAIR, "--ckpt_path", "last"])  # without that callback, which changes the settings
    for name, value in last_state(pair[0]).items():
        assert torch.equal(value, last_state(tmp_path / "run")[name]), name
    assert [row["fad"] for row in rows(tmp_path / "run")] == [row["fad"] for row in rows(pair[0])]


def test_slices_of_all_processes_differ_and_equal_the_draw_of_one() -> None:
    def drawn(rank: int, num: int, size: int) -> list[torch.Tensor]:
        rng.seed(3, rank, num)
        return [rng.randn((size, 2)), rng.rand(()), rng.randint(0, 100, (size,)), rng.rand((size, 3))]

    alone = drawn(0, 1, 4)
    slices = [drawn(rank, 2, 2) for rank in range(2)]
    for whole, first, second in zip(alone, *slices, strict=True):
        if whole.ndim:
            assert torch.equal(whole, torch.cat([first, second]))
            assert not torch.equal(first, second)
        else:
            assert whole == first == second
    other = []
    for rank in range(2):
        rng.seed(3, rank, 2)
        other.append(torch.randn(5))  # as a user's network might draw
    assert not torch.equal(*other)
    rng.seed(0)
