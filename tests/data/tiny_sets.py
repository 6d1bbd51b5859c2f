"""Small sets of sounds and how tests load them."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from audiogen.data import loading
from audiogen.data.cache import cache_folder, cached_store
from audiogen.data.datasets.dataset import AudioItem
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import SpectrogramStore
from audiogen.transforms.mel import LogMel

STEP = 0.5 / 32767 + 1e-6  # half a step of the stored int16
MEL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 256, "hop_length": 64, "n_mels": 24, "num_frames": 24}


def load(
    clips: list[AudioItem],
    transform: LogMel,
    label_order: tuple[str, ...] = (),
    exclusive: bool = False,
    several_labels: bool = False,
    **pipeline: Any,
) -> loading.LoadedData:
    rules = {"exclusive": exclusive, "several_labels": several_labels}
    return loading.load(clips, Pipeline(transform, **pipeline), cache_folder(), label_order, **rules)


def specs(split: loading.Spectrograms) -> torch.Tensor:
    return split.take(range(len(split)))


def write_samples(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    return path


def open_store(files: list[Path], folder: Path, **options: Any) -> SpectrogramStore:
    pipeline = Pipeline(LogMel(**{**MEL, **options.pop("mel", {})}), **options)
    return cached_store(files, pipeline, folder / "cache", num_workers=1)
