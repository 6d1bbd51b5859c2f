"""Protect files on disk with checksums, which detect damage such as a flipped bit."""

import hashlib
import os
import zlib
from pathlib import Path
from typing import BinaryIO

_BYTES = 4
LABEL = b"audiogen sha256 "
END_RECORD = b"PK\x05\x06"  # end of an archive without a comment: 22 bytes, the last two give the comment's length
END_SIZE = 22
SEAL_SIZE = len(LABEL) + 2 * hashlib.sha256().digest_size


def seal(content: bytes) -> bytes:
    """Return content followed by its CRC-32.

    Example:
        >>> unsealed(seal(b"whole"))
        b'whole'
    """
    return content + zlib.crc32(content).to_bytes(_BYTES, "little")


def unsealed(content: bytes) -> bytes:
    """Return the content that was passed to `seal`.

    Raises:
        ValueError: If the checksum does not match.
    """
    inner = content[:-_BYTES]
    if len(content) < _BYTES or zlib.crc32(inner).to_bytes(_BYTES, "little") != content[-_BYTES:]:
        raise ValueError("its checksum does not match")
    return inner


def seal_zip(file: BinaryIO) -> None:
    """Append a zip file's SHA-256 to it, as the archive comment, which zip readers ignore.

    A zip archive's own checksums cover only its members. A flipped bit in its headers or directory passes them, and
    then makes readers fail in many ways or, worse, read something else.

    Args:
        file: Zip file without a comment, as `torch.save` writes it, open for reading and writing.

    Raises:
        ValueError: If the file is not a zip file without a comment.
        OSError: If the file cannot be written.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - END_SIZE, 0))
    end = file.read()
    if not end.startswith(END_RECORD) or end[-2:] != b"\0\0":
        raise ValueError("expected a zip file without a comment")
    file.seek(size - 2)
    file.write(SEAL_SIZE.to_bytes(2, "little"))
    digest = _digest(file, size)
    file.seek(size)
    file.write(LABEL + digest.encode())


def is_sealed_zip(path: Path) -> bool:
    """Return whether a file ends in a checksum of `seal_zip`, matching or not."""
    try:
        with path.open("rb") as file:
            return _found(file)[1] is not None
    except OSError:
        return False


def is_intact_zip(path: Path) -> bool:
    """Return whether a file exists and matches its checksum of `seal_zip`; False if it has none."""
    try:
        with path.open("rb") as file:
            size, digest = _found(file)
            return digest is not None and _digest(file, size) == digest
    except OSError:
        return False


def _found(file: BinaryIO) -> tuple[int, str | None]:
    """Return the number of bytes covered by the checksum, and the checksum, or None if there is none."""
    size = max(file.seek(0, os.SEEK_END) - SEAL_SIZE, 0)
    file.seek(size)
    found = file.read(SEAL_SIZE)
    return size, found[len(LABEL) :].decode("ascii", "replace") if found.startswith(LABEL) else None


def _digest(file: BinaryIO, size: int) -> str:
    """Return the SHA-256 of the first `size` bytes of a file, in hexadecimal."""
    file.seek(0)
    digest, left = hashlib.sha256(), size
    while left > 0:
        block = file.read(min(left, 1 << 20))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
