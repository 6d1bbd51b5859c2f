"""Train a classifier of tones within two seconds, on the spectrograms of `tiny_run`."""

from pathlib import Path

from audiogen.cli import main
from tests.tiny_run import SAMPLE_RATE, write_classes

CLASSES = {"low": 300.0, "high": 2000.0}


def classifier_arguments(data: Path, run: Path, kimg: float = 0.4, *more: str) -> list[str]:
    """Return the flags of a tiny classifier, without the command."""
    values = {
        "data.root": data,
        "data.dataset": "audiogen.data.datasets.folder.ClassFolders",
        "data.batch_size": 8,
        "data.transform.sample_rate": SAMPLE_RATE,
        "data.transform.hop_length": 128,
        "data.transform.n_mels": 32,
        "data.transform.floor_db": -100,
        "data.transform.ceil_db": 20,
        "model.network.widths": "[4, 8]",
        "model.network.num_features": 4,
        "model.total_kimg": kimg,
        "model.log_every_kimg": 0.08,
        "trainer.default_root_dir": run,
    }
    flags = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    return ["--config", "configs/classifier_fsdd.yaml", "--config", "configs/trainer/cpu.yaml", *flags, *more]


def write_classifier(folder: Path) -> tuple[Path, Path]:
    """Write sounds of two classes with validation clips and train a classifier; return both folders."""
    data = write_classes(folder / "data", CLASSES, num=40)
    main(["fit", *classifier_arguments(data, folder / "classifier")])
    return data, folder / "classifier"
