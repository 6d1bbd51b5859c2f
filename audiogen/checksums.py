"""Checksums of what is kept on disk: they tell damage, such as a flipped bit, from what was written."""

import hashlib
import os
import zlib
from pathlib import Path
from typing import BinaryIO

_BYTES = 4
LABEL = b"audiogen sha256 "
END_RECORD = b"PK\x05\x06"  # of an archive without a comment: 22 bytes, the last two are the comment's length
END_SIZE = 22
SEAL_SIZE = len(LABEL) + 2 * hashlib.sha256().digest_size


def seal(content: bytes) -> bytes:
    """Return content with its CRC-32 after it.

    Example:
        >>> unsealed(seal(b"whole"))
        b'whole'
    """
    return content + zlib.crc32(content).to_bytes(_BYTES, "little")


def unsealed(content: bytes) -> bytes:
    """Return what was given to `seal`.

    Raises:
        ValueError: Where it is not what was sealed.
    """
    inner = content[:-_BYTES]
    if len(content) < _BYTES or zlib.crc32(inner).to_bytes(_BYTES, "little") != content[-_BYTES:]:
        raise ValueError("its checksum does not fit")
    return inner


def seal_zip(file: BinaryIO) -> None:
    """Append the SHA-256 of a zip file to it, in the comment at its end, where zip readers ignore it.

    The checksums of a zip archive cover its members alone. A flipped bit in its headers or its directory passes them,
    and then fails in a reader in many ways or, worse, makes it read something else.

    Args:
        file: An open zip file without a comment, as `torch.save` writes it, to read and write.

    Raises:
        ValueError: The file is something else.
        OSError: The file cannot be written.
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
    """Return whether a file ends in such a checksum, right or wrong."""
    try:
        with path.open("rb") as file:
            return _found(file)[1] is not None
    except OSError:
        return False


def is_intact_zip(path: Path) -> bool:
    """Return whether a file is there and matches the checksum that `seal_zip` appended; without one it does not."""
    try:
        with path.open("rb") as file:
            size, digest = _found(file)
            return digest is not None and _digest(file, size) == digest
    except OSError:
        return False


def _found(file: BinaryIO) -> tuple[int, str | None]:
    """Return the size of what the checksum covers, and the checksum where there is one."""
    size = max(file.seek(0, os.SEEK_END) - SEAL_SIZE, 0)
    file.seek(size)
    found = file.read(SEAL_SIZE)
    return size, found[len(LABEL) :].decode("ascii", "replace") if found.startswith(LABEL) else None


def _digest(file: BinaryIO, size: int) -> str:
    """Return the SHA-256 of the first bytes of a file, in hexadecimal."""
    file.seek(0)
    digest, left = hashlib.sha256(), size
    while left > 0:
        block = file.read(min(left, 1 << 20))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
