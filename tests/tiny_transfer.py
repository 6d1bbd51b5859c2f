"""Transfer style within a second: a small config at 8 kHz, and sounds with a known result."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

RATE = 8000


def write_config(folder: Path, network: dict[str, Any] | None = None, **settings: Any) -> Path:
    """Write a config with one wide layer and return its path."""
    layers = {"style_layers": ["relu_1"], "content_layer": "relu_1"}
    model = {"balance": 0.5, "relative": True, "softplus": True, "bound_weight": 0.0, "line_search": True}
    model |= {"history": 20, "precision": "fp32"}
    config = {
        "data": {
            "dataset": {"class_path": "audiogen.data.datasets.pairs.Pairs"},
            "transform": {
                "class_path": "audiogen.transforms.stft.STFT",
                "init_args": {
                    "sample_rate": RATE,
                    "n_fft": 256,
                    "hop_length": 64,
                    "num_frames": 125,
                    "scale": "log1p",
                    "ceil_db": 12.0,
                },
            },
            "batch_size": 1,
        },
        "model": {
            "class_path": "audiogen.models.style_transfer.StyleTransfer",
            "init_args": {
                "extractor": {
                    "class_path": "audiogen.networks.style_cnn.StyleCNN",
                    "init_args": {"width": 128, "kernel": 11, "num_stacks": 1, "pool": "none", "batch_norm": False}
                    | (network or {}),
                },
                "iterations": 30,
                **layers,
                **model,
                **settings,
            },
        },
        "trainer": {"callbacks": [{"class_path": "audiogen.callbacks.transfer.TransferLogger"}]},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write(path: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    """Write a sound, [T] or [T, C]."""
    soundfile.write(path, sound, rate)
    return path


def melody(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """Return four notes per second, each with a sudden onset and a decay."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = np.array([440.0, 550.0, 660.0, 880.0])[(time * 4).astype(int) % 4]
    return 0.4 * np.sin(2 * np.pi * np.cumsum(pitch) / rate) * np.exp(-8 * (time % 0.25))


def bursts(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """Return bursts of noise at random times."""
    random = np.random.default_rng(0)
    wav = 0.002 * random.standard_normal(round(seconds * rate))
    fading = np.exp(-np.arange(rate // 10) / (rate / 50))
    for start in random.integers(0, len(wav) - len(fading), round(12 * seconds)):
        wav[start : start + len(fading)] += 0.4 * random.standard_normal(len(fading)) * fading
    return np.clip(wav, -0.9, 0.9)


def clicks(hertz: float, seconds: float = 3.0, rate: int = RATE) -> np.ndarray:
    """Return clicks of a few milliseconds at a given rate."""
    random = np.random.default_rng(0)
    wav = 0.001 * random.standard_normal(round(seconds * rate))
    click = random.standard_normal(rate // 100) * np.exp(-np.arange(rate // 100) / (rate / 500))
    for start in np.arange(0, len(wav) - len(click), rate / hertz).astype(int):
        wav[start : start + len(click)] += 0.3 * click
    return wav


def click_rate(wav: np.ndarray, rate: int = RATE) -> float:
    """Return the strongest repetition rate of the envelope, from 2 to 30 Hz."""
    hop = rate // 200
    envelope = np.sqrt(np.add.reduceat(wav**2, np.arange(0, len(wav) - hop, hop)))
    envelope -= envelope.mean()
    likeness = np.correlate(envelope, envelope, "full")[len(envelope) - 1 :]
    lags = np.arange(len(likeness))
    wanted = (lags >= 200 / 30) & (lags <= 200 / 2)
    return float(200 / lags[wanted][np.argmax(likeness[wanted])])
