"""A sealed file is intact if and only if no byte of it changed."""

import random
from io import BytesIO
from pathlib import Path

import pytest
import torch

from audiogen.checksums import is_intact_zip, is_sealed_zip, seal_zip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.ckpt"
    with path.open("w+b") as opened:
        torch.save({"weights": torch.arange(50.0), "name": "x"}, opened)
        seal_zip(opened)
    return path


def test_torch_reads_a_sealed_file(file: Path) -> None:
    assert is_sealed_zip(file)
    assert is_intact_zip(file)
    assert torch.load(file, weights_only=True)["weights"][3] == 3
    assert torch.load(file, weights_only=True, mmap=True)["weights"][3] == 3


def test_every_flipped_bit_is_found(file: Path) -> None:
    whole = file.read_bytes()
    for position in range(len(whole)):  # headers, directory, the end record and the checksum itself
        damaged = bytearray(whole)
        damaged[position] ^= 1 << random.Random(position).randrange(8)
        file.write_bytes(damaged)
        assert not is_intact_zip(file), position


@pytest.mark.parametrize("keep", [0, 1, 20, 100, -1, -22, -81])
def test_truncated_and_lengthened_files_are_found(file: Path, keep: int) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    assert not is_intact_zip(file)
    file.write_bytes(whole + b"\0" * max(keep, 1))
    assert not is_intact_zip(file)


def test_files_without_a_checksum_are_not_intact(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({}, path)
    assert not is_sealed_zip(path)
    assert not is_intact_zip(path)
    assert not is_intact_zip(tmp_path / "missing.ckpt")


def test_only_zip_files_are_sealed_and_only_once(file: Path) -> None:
    with file.open("r+b") as opened, pytest.raises(ValueError, match="expected a zip file without a comment"):
        seal_zip(opened)
    with pytest.raises(ValueError, match="expected a zip file without a comment"):
        seal_zip(BytesIO(b"a text of more than twenty-two bytes"))
