"""Sounds and settings that the tests of data share."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from audiogen.data import pipeline as pipeline_module
from audiogen.data.datasets.dataset import AudioItem, Split
from audiogen.transforms.mel import LogMel

WriteTone = Callable[..., Path]


@pytest.fixture(scope="session")
def transform() -> LogMel:
    return LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=24, num_frames=24)  # 0.19 s


@pytest.fixture
def clip(write_tone: WriteTone) -> Callable[..., AudioItem]:
    """Return a function that writes a sine and lists it; every sine has another frequency."""
    count = itertools.count()

    def make(name: str, label: str | None = "a", split: Split = "train", **arguments: float) -> AudioItem:
        return AudioItem(write_tone(name, **{"frequency": 440 + next(count) / 10, **arguments}), label, split)

    return make


@pytest.fixture
def files(write_tone: WriteTone) -> list[Path]:
    return [write_tone(f"{name}.wav", frequency=300 + 100 * i) for i, name in enumerate(("a", "b c", "d'é\"", "e"))]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that collects the path of each processed file."""
    processed: list[Path] = []
    process = pipeline_module.process
    monkeypatch.setattr(
        pipeline_module, "process", lambda path, pipeline: processed.append(path) or process(path, pipeline)
    )
    return processed
