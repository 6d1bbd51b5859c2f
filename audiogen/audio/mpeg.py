"""MP3 files without a right frame count: libsndfile guesses their length from the first bit rate, and stops there.

An encoder that writes to a file puts a first frame with the number of frames before the sound: "Xing" or, at a constant
bit rate, "Info". It is missing where a stream was recorded, cut or split, and counts too few frames where files were
joined. Then the frames are counted here, and such a frame is put before them.

Layout of a frame header: ISO/IEC 11172-3, section 2.4.2.3; of a Xing frame: G. Dion and M. Bakker, "MP3 VBR header".
"""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version: 1, 2, 2.5
_KBITS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SEARCHED = 1 << 16  # bytes that may be no frame, such as a picture that is not in a tag
_HEADER_BYTES = 4


class _Frame(NamedTuple):
    """A frame of layer III: its length in bytes, its version, and the bytes before its data proper."""

    size: int
    version: int
    side_bytes: int
    rate: int


class CountedMP3(io.RawIOBase):
    """An MP3 file as it would be with a right count of its frames.

    Args:
        path: The file.
        start: Where its first frame of sound is.
        num_frames: How many there are.
    """

    def __init__(self, path: Path, start: int, num_frames: int) -> None:
        self._file = path.open("rb")
        self._start = start
        self._file.seek(start)
        self._count = _counting_frame(self._file.read(_HEADER_BYTES), num_frames)
        self._size = len(self._count) + path.stat().st_size - start
        self._place = 0

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read the next bytes."""
        head = self._count[self._place : self._place + len(buffer)]
        self._file.seek(self._start + max(self._place - len(self._count), 0))
        content = head + self._file.read(len(buffer) - len(head))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def counted_mp3(path: Path) -> CountedMP3 | None:
    """Return an MP3 file with a right count of its frames, or None for one that has it, and for other files.

    Raises:
        OSError: Where it cannot be read.
    """
    with path.open("rb") as file:
        if not (start := file.read(3)).startswith(b"ID3") and not (len(start) > 1 and _is_sync(start)):
            return None
        file.seek(0)
        content = memoryview(file.read())
    places = list(_frames(content))
    if not places:
        return None
    first, frame = places[0]
    declared, is_count = _declared(content[first : first + frame.size], frame)
    sound = places[1:] if is_count else places
    if not sound or declared >= len(sound):
        return None
    return CountedMP3(path, sound[0][0], len(sound))


def _frames(content: memoryview) -> Iterator[tuple[int, _Frame]]:
    """Yield the place and the header of each whole frame, passing over what is none."""
    place, kind = _after_tags(content), None
    while place + _HEADER_BYTES <= len(content):
        frame = _parse(content[place : place + _HEADER_BYTES])
        if frame is None or (kind is not None and (frame.version, frame.rate) != kind):
            place = _next_frame(content, place + 1, kind)
            continue
        if place + frame.size > len(content):
            return
        kind = (frame.version, frame.rate)
        yield place, frame
        place += frame.size


def _next_frame(content: memoryview, place: int, kind: tuple[int, int] | None) -> int:
    """Return the next place where two frames of a kind follow one another; the end where there is none."""
    for candidate in range(place, min(place + _SEARCHED, len(content) - _HEADER_BYTES)):
        if content[candidate] == 0xFF and (frame := _parse(content[candidate : candidate + _HEADER_BYTES])) is not None:
            following = candidate + frame.size
            again = _parse(content[following : following + _HEADER_BYTES])
            same = again is not None and (again.version, again.rate) == (frame.version, frame.rate)
            if same and kind in (None, (frame.version, frame.rate)):
                return candidate
    return len(content)


def _after_tags(content: memoryview) -> int:
    """Return where the sound begins: after ID3v2 tags, whose sizes have seven bits in each byte."""
    place = 0
    while bytes(content[place : place + 3]) == b"ID3" and place + 10 <= len(content):
        size = sum(byte << 7 * (3 - index) for index, byte in enumerate(content[place + 6 : place + 10]))
        place += 10 + size + (10 if content[place + 5] & 0x10 else 0)  # a footer
    return place


def _is_sync(header: bytes | memoryview) -> bool:
    return header[0] == 0xFF and header[1] & 0xE6 == 0xE2  # eleven bits, and layer III


def _parse(header: bytes | memoryview) -> _Frame | None:
    """Return the frame that a header announces, or None where it is none of layer III with a known bit rate."""
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
    """Return how many frames the first one announces, and whether it is there for that only."""
    tag = first[_HEADER_BYTES + frame.side_bytes :]
    if bytes(tag[:4]) not in (b"Xing", b"Info"):
        return 0, bytes(first[36:40]) == b"VBRI"
    flags, num_frames = struct.unpack(">II", bytes(tag[4:12]).ljust(8, b"\0"))
    return num_frames if flags & 1 else 0, True


def _counting_frame(header: bytes, num_frames: int) -> bytes:
    """Return a frame that announces a number of frames of the kind of `header`."""
    # At 64 kbit/s (or 40) it is long enough at any rate; no padding and no checksum.
    plain = bytes([header[0], header[1] | 1, 0x50 | header[2] & 0x0C, header[3]])
    frame = _parse(plain)
    assert frame is not None
    tag = b"Xing" + struct.pack(">II", 1, num_frames)
    return (plain + bytes(frame.side_bytes) + tag).ljust(frame.size, b"\0")
