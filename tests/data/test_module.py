"""The data module: effects of its settings on the stream of training batches."""

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.module import SpectrogramData
from audiogen.transforms.mel import LogMel
from tests.tiny_run import write_classes

TRANSFORM = LogMel(8000, 256, 128, n_mels=8, num_frames=12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with 12 sounds of one class and 3 of another."""
    write_classes(tmp_path, {"many": 300}, num=12)
    return write_classes(tmp_path, {"few": 2000}, num=3)


def stream(folder: Path, batches: int = 30, **settings: Any) -> list[tuple[list[int], int]]:
    """Return the labels of the first batches, and the number of different clips in each."""
    data = SpectrogramData(ClassFolders(val_fraction=0), TRANSFORM, batch_size=4, root=str(folder), **settings)
    data.trainer = SimpleNamespace(lightning_module=None, global_rank=0, world_size=1)  # type: ignore[assignment]
    found = list(islice(data.train_dataloader(), batches))
    return [(batch.label.tolist(), len({float(spec.sum()) for spec in batch.spec})) for batch in found]


def test_domains_are_drawn_evenly_whatever_their_size(folder: Path) -> None:
    assert all(sorted(labels) == [0, 0, 1, 1] for labels, _ in stream(folder, domains=True))
    counts = [labels.count(0) for labels, _ in stream(folder)]
    assert sum(counts) == pytest.approx(4 * 30 * 3 / 15, abs=2)  # few is class 0


def test_crops_of_long_sounds_differ_each_time(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 300, "b": 2000}, num=2)  # twice as long as a clip
    shown = stream(tmp_path, 10, domains=True, crop="random")
    assert all(different == 4 for _, different in shown)  # the four clips of a batch come from two sounds


def test_sounds_in_two_domains_are_left_out(folder: Path) -> None:
    (folder / "few" / "same.wav").write_bytes((folder / "many" / "0.wav").read_bytes())
    data = SpectrogramData(ClassFolders(val_fraction=0), TRANSFORM, root=str(folder), domains=True)
    assert {clip.path.name for _, clip in data.loaded.rejected} == {"same.wav", "0.wav"}
    assert "2 left out: in two classes" in data.loaded.summary()
    classes = SpectrogramData(ClassFolders(val_fraction=0), TRANSFORM, root=str(folder)).loaded
    assert {clip.path.parent.name for reason, clip in classes.rejected if "in two classes" in reason} == {"many"}
