"""Train models that collapse, and healthy ones, on the embedded digits: `python -m benchmarks.collapse_runs DIR`.

Small conditional StyleGAN2s are trained on the clips of the quickstart. A classifier, trained first, evaluates them
every kimg. `python -m benchmarks.collapse` applies the rules to the logged metrics. Takes half an hour on 2 cores.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

KIMG = 24
FAULT_KIMG = 14.0  # when the faults in the middle of a run are injected
SMALL = {"channel_base": 1024, "channel_max": 64}


class DropLabels(lightning.Callback):
    """Label every clip as the first class from `FAULT_KIMG` on, as a broken label column would."""

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Overwrite the labels of the batch."""
        if pl_module.kimg >= FAULT_KIMG:
            batch.label.zero_()


class ShrinkGenerator(lightning.Callback):
    """Halve all weights of the generator once, at `FAULT_KIMG`."""

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Halve the weights at the first batch after `FAULT_KIMG`."""
        if pl_module.kimg >= FAULT_KIMG and pl_module.kimg - pl_module.batch_size / 1000 < FAULT_KIMG:
            with torch.no_grad():
                for weight in pl_module.generator.parameters():
                    weight.mul_(0.5)


class StrengthenDiscriminator(lightning.Callback):
    """Multiply the discriminator's learning rate by 20 from `FAULT_KIMG` on."""

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Raise the learning rate at the first batch after `FAULT_KIMG`."""
        if pl_module.kimg >= FAULT_KIMG:
            for group in trainer.optimizers[1].param_groups:
                group["lr"] = 20 * pl_module.learning_rate


class FewClips(lightning.Callback):
    """Train on only a few clips of each class.

    Args:
        num_per_class: Training clips of each class.
    """

    def __init__(self, num_per_class: int) -> None:
        self.num_per_class = num_per_class

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Shorten the training split."""
        clips = trainer.datamodule.split("train")  # type: ignore[attr-defined]
        num = self.num_per_class
        chosen = torch.cat([torch.nonzero(clips.label == index)[:num, 0] for index in clips.label.unique()])
        clips.segment, clips.label, clips.groups = clips.segment[chosen], clips.label[chosen], [len(chosen)]


def _model(**settings: Any) -> dict[str, Any]:
    return {"model": {"init_args": settings}}


def _networks(generator: dict[str, int], discriminator: dict[str, int]) -> dict[str, Any]:
    return {"generator": {"init_args": generator}, "discriminator": {"init_args": discriminator}}


def _callback(callback: type[lightning.Callback], **arguments: Any) -> dict[str, Any]:
    path = f"benchmarks.collapse_runs.{callback.__name__}"
    return {"trainer": {"callbacks+": [{"class_path": path, "init_args": arguments}]}}


COLLAPSES = {
    "no_r1": _model(r1_interval=0, augment=None, learning_rate=0.01, beta1=0.5),
    "learning_rate_x20": _model(learning_rate=0.04),
    "strong_discriminator": _callback(StrengthenDiscriminator) | _model(augment=None),
    "few_clips": _callback(FewClips, num_per_class=2) | _model(r1_gamma=0.001, augment=None, learning_rate=0.004),
    "labels_dropped": _callback(DropLabels),
    "generator_shrunk": _callback(ShrinkGenerator),
}
IN_FLIGHT = ("strong_discriminator", "labels_dropped", "generator_shrunk")  # from FAULT_KIMG on
HEALTHY = {
    "healthy": {},
    "healthy_seed_1": {"seed_everything": 1},
    "healthy_slow": _model(learning_rate=0.001),
    "healthy_mode_seeking": _model(mode_seeking_weight=0.03),
    "healthy_large_r1": _model(r1_gamma=0.5),
}


def main(folder: Path, names: list[str]) -> None:
    """Train all models, one thread each. AUDIOGEN_JOBS run at a time (2 by default)."""
    classifier = folder / "classifier"
    if not classifier.exists():
        _run(
            ["--config", "configs/classifier_digits.yaml", "--trainer.default_root_dir", str(classifier)],
            folder / "classifier.log",
        )
    common = {
        "model": {
            "init_args": {**_networks(SMALL, SMALL), "total_kimg": KIMG, "log_every_kimg": 0.25},
        },
        "trainer": {"callbacks": [_evaluation(classifier)]},
    }
    (folder / "common.yaml").write_text(yaml.safe_dump(common))
    runs = {name: change for name, change in (COLLAPSES | HEALTHY).items() if not names or name in names}
    with ThreadPoolExecutor(int(os.environ.get("AUDIOGEN_JOBS", "2"))) as pool:
        list(pool.map(lambda item: _train(folder, *item), runs.items()))


def _train(folder: Path, name: str, change: dict[str, Any]) -> None:
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(change))
    configs = ["configs/quickstart.yaml", str(folder / "common.yaml"), str(config)]
    flags = [part for config in configs for part in ("--config", config)]
    _run([*flags, "--trainer.default_root_dir", str(folder / name)], folder / f"{name}.log")


def _run(flags: list[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        code = subprocess.run(
            ["env", "OMP_NUM_THREADS=1", sys.executable, "-m", "audiogen", "fit", *flags],
            stdout=file,
            stderr=file,
            check=False,
        ).returncode
    print(f"{log.stem}: {'done' if not code else f'ended with status {code}'}", flush=True)


def _evaluation(classifier: Path) -> dict[str, Any]:
    embedding = {
        "class_path": "audiogen.metrics.embeddings.classifier.Classifier",
        "init_args": {"weights": str(classifier)},
    }
    return {
        "class_path": "audiogen.callbacks.evaluation.Evaluation",
        "init_args": {"embeddings": [embedding], "every_kimg": 1.0, "num_clips": 400},
    }


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m benchmarks.collapse_runs DIR [NAME ...]")
    main(Path(sys.argv[1]), sys.argv[2:])
