"""Correct the frame count of MP3 files, which libsndfile needs to decode them to their end.

Encoders that write to a file start it with a frame that holds the number of frames: "Xing", or "Info" at a constant bit
rate. Streams that were recorded, cut or split lack this frame, and in joined files its count is too low. libsndfile
then guesses the length from the first bit rate and stops there. This module counts the frames and puts a correct count
in front of them.

Frame header layout: ISO/IEC 11172-3, section 2.4.2.3. Xing frame layout: G. Dion and M. Bakker, "MP3 VBR header".
"""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version: 1, 2, 2.5; in Hz
_KBITS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SEARCHED = 1 << 16  # bytes to search for the next frame, past data such as a picture outside a tag
_HEADER_BYTES = 4


class _Frame(NamedTuple):
    """A layer III frame: bytes in total, version code, bytes of side information, and sample rate in Hz."""

    size: int
    version: int
    side_bytes: int
    rate: int


class CountedMP3(io.RawIOBase):
    """An MP3 file with a correct frame count prepended.

    Args:
        path: The MP3 file.
        start: Byte offset of its first audio frame.
        num_frames: Number of audio frames.
    """

    def __init__(self, path: Path, start: int, num_frames: int) -> None:
        self._file = path.open("rb")
        self._start = start
        self._file.seek(start)
        self._count = _counting_frame(self._file.read(_HEADER_BYTES), num_frames)
        self._size = len(self._count) + path.stat().st_size - start
        self._position = 0

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte offset and return it, counted from the start."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Return the current byte offset."""
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read the next bytes into a buffer and return how many were read."""
        head = self._count[self._position : self._position + len(buffer)]
        self._file.seek(self._start + max(self._position - len(self._count), 0))
        content = head + self._file.read(len(buffer) - len(head))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def counted_mp3(path: Path) -> CountedMP3 | None:
    """Return an MP3 file with its frame count corrected, or None if its count is correct or it is not an MP3 file.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        if not (start := file.read(3)).startswith(b"ID3") and not (len(start) > 1 and _is_sync(start)):
            return None
        file.seek(0)
        content = memoryview(file.read())
    frames = list(_frames(content))
    if not frames:
        return None
    first, frame = frames[0]
    declared, is_count = _declared(content[first : first + frame.size], frame)
    sound = frames[1:] if is_count else frames
    if not sound or declared >= len(sound):
        return None
    return CountedMP3(path, sound[0][0], len(sound))


def _frames(content: memoryview) -> Iterator[tuple[int, _Frame]]:
    """Yield the offset and header of each complete frame, skipping everything else."""
    offset, kind = _after_tags(content), None
    while offset + _HEADER_BYTES <= len(content):
        frame = _parse(content[offset : offset + _HEADER_BYTES])
        if frame is None or (kind is not None and (frame.version, frame.rate) != kind):
            offset = _next_frame(content, offset + 1, kind)
            continue
        if offset + frame.size > len(content):
            return
        kind = (frame.version, frame.rate)
        yield offset, frame
        offset += frame.size


def _next_frame(content: memoryview, start: int, kind: tuple[int, int] | None) -> int:
    """Return the next offset with two consecutive frames of one kind, or the end of the content if none is found."""
    for candidate in range(start, min(start + _SEARCHED, len(content) - _HEADER_BYTES)):
        if content[candidate] == 0xFF and (frame := _parse(content[candidate : candidate + _HEADER_BYTES])) is not None:
            following = candidate + frame.size
            again = _parse(content[following : following + _HEADER_BYTES])
            same = again is not None and (again.version, again.rate) == (frame.version, frame.rate)
            if same and kind in (None, (frame.version, frame.rate)):
                return candidate
    return len(content)


def _after_tags(content: memoryview) -> int:
    """Return the offset after all ID3v2 tags; their sizes use seven bits of each byte."""
    offset = 0
    while bytes(content[offset : offset + 3]) == b"ID3" and offset + 10 <= len(content):
        size = sum(byte << 7 * (3 - index) for index, byte in enumerate(content[offset + 6 : offset + 10]))
        offset += 10 + size + (10 if content[offset + 5] & 0x10 else 0)  # a footer
    return offset


def _is_sync(header: bytes | memoryview) -> bool:
    return header[0] == 0xFF and header[1] & 0xE6 == 0xE2  # eleven sync bits, then layer III


def _parse(header: bytes | memoryview) -> _Frame | None:
    """Return the frame described by a header, or None unless it is layer III with a known bit rate."""
    if len(header) < _HEADER_BYTES or not _is_sync(header):
        return None
    version, kbits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return None
    mono = header[3] >> 6 == 3
    if version == 3:
        scale, table, side = 144, _KBITS_1, 17 if mono else 32
    else:
        scale, table, side = 72, _KBITS_2, 9 if mono else 17
    sample_rate = _RATES[version][rate]
    size = scale * 1000 * table[kbits - 1] // sample_rate + (header[2] >> 1 & 1)
    return _Frame(size, version, side, sample_rate)


def _declared(first: memoryview, frame: _Frame) -> tuple[int, bool]:
    """Return the frame count declared by the first frame, and whether that frame contains only the count."""
    tag = first[_HEADER_BYTES + frame.side_bytes :]
    if bytes(tag[:4]) not in (b"Xing", b"Info"):
        return 0, bytes(first[36:40]) == b"VBRI"
    flags, num_frames = struct.unpack(">II", bytes(tag[4:12]).ljust(8, b"\0"))
    return num_frames if flags & 1 else 0, True


def _counting_frame(header: bytes, num_frames: int) -> bytes:
    """Return a frame that declares `num_frames` frames with the version, rate and channels of `header`."""
    # 64 kbit/s (40 for versions 2 and 2.5) is long enough at any sample rate; no padding, no checksum.
    plain = bytes([header[0], header[1] | 1, 0x50 | header[2] & 0x0C, header[3]])
    frame = _parse(plain)
    assert frame is not None
    tag = b"Xing" + struct.pack(">II", 1, num_frames)
    return (plain + bytes(frame.side_bytes) + tag).ljust(frame.size, b"\0")
