"""Stored spectrograms are read back unchanged from any position."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.data.store import FileRecord, SpectrogramStore, StoreWriter, quantise

LENGTHS = (5, 9, 5, 20)


def specs() -> list[Tensor]:
    """Return spectrograms with two channels and three bands, of several lengths, in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.rand(2, 3, length, generator=generator) - 1 for length in LENGTHS]


@pytest.fixture
def store(tmp_path: Path) -> SpectrogramStore:
    """Return a store of four files with one, no, two and one segments."""
    writer = StoreWriter(tmp_path / "store", (2, 3), ["a", "b", "c", "d"])
    segments = [quantise(spec) for spec in specs()]
    writer.add(FileRecord(seconds=1.0, changes=[{"step": "Trim"}]), segments[:1])
    writer.add(FileRecord("silent"), [])
    writer.add(FileRecord(), segments[1:3])
    writer.add(FileRecord(), segments[3:])
    writer.close()
    return SpectrogramStore(tmp_path / "store")


def test_any_crop_is_read_back_within_half_a_step(store: SpectrogramStore) -> None:
    read = store.read([3, 1, 0, 3], [0.0, 0.5, 0.9, 0.99], 5)
    whole = specs()
    expected = torch.stack([whole[3][..., :5], whole[1][..., 2:7], whole[0], whole[3][..., 15:]])
    torch.testing.assert_close(read, expected, rtol=0, atol=0.5 / 32767 + 1e-7)
    assert read.is_contiguous()


def test_silence_and_full_scale_are_exact(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", (1, 2), ["a"])
    writer.add(FileRecord(), [quantise(torch.tensor([[[-1.0, 1.0], [0.0, -3.0]]]))])
    writer.close()
    assert SpectrogramStore(tmp_path / "store").read([0], [0.0], 2).tolist() == [[[[-1, 1], [0, -1]]]]


def test_index_contains_the_file_of_each_segment(store: SpectrogramStore) -> None:
    assert store.file.tolist() == [0, 2, 2, 3]
    assert store.num_frames.tolist() == list(LENGTHS)
    assert store.digests.tolist() == [b"a", b"b", b"c", b"d"]
    assert store.reasons == {1: "silent"}
    assert [record.reason for record in store.records()] == ["", "silent", "", ""]
    assert next(store.records()) == FileRecord(seconds=1.0, changes=[{"step": "Trim"}])


def test_store_may_contain_no_usable_file(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", (1, 2), ["a"])
    writer.add(FileRecord("empty"), [])
    writer.close()
    assert len(SpectrogramStore(tmp_path / "store").file) == 0


def test_frames_are_memory_mapped(store: SpectrogramStore) -> None:
    assert isinstance(store._frames, np.memmap)


@pytest.mark.parametrize("damage", ["frames.i16", "index.npz", "records.jsonl"])
def test_incomplete_store_is_refused(store: SpectrogramStore, damage: str) -> None:
    content = (store.folder / damage).read_bytes()
    (store.folder / damage).write_bytes(content[:-2])
    with pytest.raises(ValueError, match="does not contain a complete set of spectrograms"):
        SpectrogramStore(store.folder)
