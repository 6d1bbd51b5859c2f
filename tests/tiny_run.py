"""Train within a second: two classes of tones and a few thousand weights."""

from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 8000


def write_classes(folder: Path, frequencies: dict[str, float], num: int = 6) -> Path:
    """Write `num` tones with a little noise to one sub-folder per class; "" is the folder itself."""
    random = np.random.default_rng(0)
    for name, frequency in frequencies.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(num):
            time = np.arange(3000 + 100 * index) / SAMPLE_RATE
            wave = 0.4 * np.sin(2 * np.pi * frequency * (1 + 0.02 * index) * time)
            soundfile.write(
                folder / name / f"{index}.wav", wave + 0.01 * random.standard_normal(len(time)), SAMPLE_RATE
            )
    return folder


def arguments(data: Path, run: Path, kimg: float = 0.024, *more: str) -> list[str]:
    """Return the command line of a tiny run with 4 clips per step, saved every 8 clips."""
    values = {
        "data.root": data,
        "data.batch_size": 4,
        "data.transform.sample_rate": SAMPLE_RATE,
        "data.transform.n_fft": 512,
        "data.transform.hop_length": 128,
        "data.transform.n_mels": 32,
        "data.transform.num_frames": 32,
        "model.generator.z_dim": 8,
        "model.generator.w_dim": 16,
        "model.generator.channel_base": 256,
        "model.generator.channel_max": 16,
        "model.discriminator.channel_base": 256,
        "model.discriminator.channel_max": 16,
        "model.discriminator.num_mapping_layers": 1,
        "model.r1_interval": 2,
        "model.path_length_interval": 3,
        "model.total_kimg": kimg,
        "model.log_every_kimg": 0.008,
        "trainer.default_root_dir": run,
        "checkpoint.every_kimg": 0.008,
    }
    flags = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    config = ["fit", "--config", "configs/stylegan2_folder.yaml", "--config", "configs/trainer/cpu.yaml"]
    callbacks = [
        {
            "class_path": "audiogen.callbacks.samples.SampleLogger",
            "init_args": {"every_kimg": 0.016, "num_per_class": 2},
        },
    ]
    return [*config, *flags, "--trainer.callbacks", str(callbacks), *more]
