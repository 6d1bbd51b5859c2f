"""Train a generator that converts low tones to high ones within a second."""

import json
from pathlib import Path
from typing import Any

from tests.tiny_run import SAMPLE_RATE


def conversion_arguments(data: Path, run: Path, kimg: float = 0.024, *more: str, callbacks: Any = ()) -> list[str]:
    """Return the command line of a tiny run: steps of 4 clips, two of each domain, saved every 8.

    Args:
        data: A folder with a sub-folder for each domain.
        run: The run directory.
        kimg: Its length.
        more: Further flags.
        callbacks: Beside the one that saves.
    """
    values = {
        "data.root": data,
        "data.batch_size": 4,
        "data.transform.sample_rate": SAMPLE_RATE,
        "data.transform.n_fft": 512,
        "data.transform.win_length": 512,
        "data.transform.hop_length": 128,
        "data.transform.n_mels": 32,
        "data.transform.num_frames": 24,
        "data.transform.mel_scale": "slaney",
        "data.transform.power": 1,
        "data.transform.floor_db": -100,
        "data.transform.ceil_db": 20,
        "model.targets": "null",  # the last one only
        "model.generator.width": 8,
        "model.siamese.width": 8,
        "model.discriminator.width": 8,
        "model.total_kimg": kimg,
        "model.log_every_kimg": 0.008,
        "trainer.default_root_dir": run,
        "checkpoint.every_kimg": 0.008,
    }
    flags = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    config = ["fit", "--config", "configs/melgan_vc.yaml", "--config", "configs/trainer/cpu.yaml"]
    config += ["--data.dataset", "audiogen.data.datasets.folder.ClassFolders", "--data.dataset.val_fraction", "0.25"]
    return [*config, *flags, "--trainer.callbacks", json.dumps(callbacks), *more]
