"""Checksums of what is kept on disk: they tell damage, such as a flipped bit, from what was written."""

import zlib

_BYTES = 4


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
