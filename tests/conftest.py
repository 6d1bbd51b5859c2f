"""Sounds and attacks that several tests share, and a single thread for all tests."""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from audiogen.signals import HANDLED

# Tests that start several processes at once. They share one pytest-xdist worker, so that they never run side by side.
ONE_WORKER = (
    *("tests/slurm/", "tests/faults/", "tests/test_distributed.py", "tests/benchmarks/test_scaling_benchmark.py"),
)
SEVERAL = "several processes"
WriteTone = Callable[..., Path]
# On a busy machine, waiting for a second thread made these small tests up to ten times slower.
torch.set_num_threads(1)
# Suffixes that soundfile does not map to a format.
FORMATS = {
    ".opus": {"format": "OGG", "subtype": "OPUS"},
    ".oga": {"format": "OGG"},
    ".aif": {"format": "AIFF"},
    ".aifc": {"format": "AIFF"},
    ".snd": {"format": "AU"},
    ".wave": {"format": "WAV"},
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tests of a file on one pytest-xdist worker, where they share fixtures."""
    path = item.path.relative_to(Path(__file__).parent.parent).as_posix()
    item.add_marker(pytest.mark.xdist_group(SEVERAL if path.startswith(ONE_WORKER) else path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the group that takes longest."""
    items.sort(key=lambda item: pytest.mark.xdist_group(SEVERAL).mark not in item.iter_markers())


def tone(sample_rate: int = 8000, seconds: float = 0.25, frequency: float = 440.0, num_channels: int = 1) -> NDArray:
    """Return a sine at half of full scale, float32 [T, C]."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = 0.5 * np.sin(2 * np.pi * frequency * time)
    return np.repeat(wave[:, None], num_channels, axis=1).astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the tests' cache separate from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["AUDIOGEN_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Restore the signal handlers after a training run, because Lightning ignores every later Ctrl-C."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def write_tone(tmp_path: Path) -> WriteTone:
    """Return a function that writes a sine below tmp_path; the suffix chooses the format."""

    def write(name: str, sample_rate: int = 8000, **arguments: float) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(sample_rate, **arguments), sample_rate, **FORMATS.get(path.suffix, {}))
        return path

    return write


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a file that an attack would create, such as the module and config beside it; check that none does."""
    file = tmp_path / "attacked"
    (tmp_path / "evil_module.py").write_text(
        f"import torch\nopen({str(file)!r}, 'w').close()\nclass Evil(torch.nn.Module):\n    pass\n"
    )
    (tmp_path / "evil.json").write_text(json.dumps({"class_path": "evil_module.Evil"}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("AUDIOGEN_TRUST", raising=False)
    yield file
    sys.modules.pop("evil_module", None)
    assert not file.exists(), "code was run"


@pytest.fixture
def download(tmp_path: Path, marker: Path) -> dict[str, Any]:
    """Return a call of a function in this package that would write an attacker's file to any path."""
    (tmp_path / "payload").write_text("anything")
    digest = hashlib.sha256(b"anything").hexdigest()
    arguments = {"url": (tmp_path / "payload").as_uri(), "path": str(tmp_path / "away" / f"attacked-{digest[:8]}.pth")}
    return {"class_path": "audiogen.networks.weights._download", "init_args": arguments}
