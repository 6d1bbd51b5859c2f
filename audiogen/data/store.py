"""Store spectrograms on disk: a memory-mapped file of frames, its index, and a record of each source file.

Frames are stored consecutively as int16 [N, C, F], scaled so that 32767 is 1. A step is 0.001 dB on a scale of 90 dB,
at half the size of float32. A crop of a clip is one contiguous block, and a set may be larger than memory.

Everything has a checksum (CRC-32). The index is checked when a store is opened, a segment when it is first read, and
the records before they are read. While a store is being written, a journal lists the files in it, so that an
interrupted build can continue.
"""

import json
import os
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from audiogen.checksums import seal, unsealed

STEPS = 32767  # int16 value of 1.0
_FRAMES, _INDEX, _RECORDS, _JOURNAL = "frames.i16", "index.npz", "records.jsonl", "journal.jsonl"
_BLOCK = 1 << 20  # bytes to read at once


@dataclass(frozen=True)
class FileRecord:
    """What became of one audio file.

    Attributes:
        reason: Reason why the file is left out; empty if it is used.
        seconds: Duration of the original file in seconds; 0 if unknown.
        sample_rate: Sample rate of the file in Hz; 0 if unknown.
        num_channels: Channels of the file; 0 if unknown.
        kept_seconds: Duration of the sound that is stored, in seconds.
        padded: Whether silence was added to fill a clip.
        truncated: Whether some of the sound was cut off.
        rms_db: RMS level of the preprocessed sound in dB relative to full scale.
        low: Smallest value of the file's spectrograms.
        high: Largest value of the file's spectrograms.
        silent_crops: Fraction of possible random crops that contain only silence.
        changes: Effect of each preprocessing step on each segment, as plain values of `Change`.
        dropped: Reason for each segment of a long file that is left out.
        sound: Digest of the samples that were read, at the transform's sample rate and channel count, so that files
            with the same sound have the same digest. Empty if the file is left out.
    """

    reason: str = ""
    seconds: float = 0.0
    sample_rate: int = 0
    num_channels: int = 0
    kept_seconds: float = 0.0
    padded: bool = False
    truncated: bool = False
    rms_db: float = 0.0
    low: float = 0.0
    high: float = 0.0
    silent_crops: float = 0.0
    changes: list[Any] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    sound: str = ""


class StoreWriter:
    """Append spectrograms to a new store, or to one that was left unfinished.

    Args:
        folder: Folder of the store. It is created, and its content is invalid until `close`.
        shape: Shape of a frame, (C, F).
        digests: Digest of each file's content, for all files to be added.
        states: State of each file, which changes when the file does. Files of an unfinished store are kept while their
            state and their stored data are unchanged. If None, the folder must not exist.

    Attributes:
        num_files: Number of files in the store so far; the others are to be added.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, int], digests: Sequence[str], states: Sequence[str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=states is not None)
        self.folder, self.shape, self.digests, self.states = folder, shape, digests, states
        self.num_files = 0
        self._reasons: dict[int, str] = {}
        self._sounds: list[bytes] = []
        self._segments: list[tuple[int, int, int]] = []  # file, frames, checksum
        self._frames, self._journal = (_appendable(folder / name) for name in (_FRAMES, _JOURNAL))
        self._resume()

    def add(self, record: FileRecord, specs: Sequence[np.ndarray]) -> None:
        """Append the next file with its segments, int16 [L, C, F] each."""
        segments = []
        for spec in specs:
            content = np.ascontiguousarray(spec).data.cast("B")
            self._frames.write(content)
            segments.append((len(spec), zlib.crc32(content)))
        self._frames.flush()
        state = self.states[self.num_files] if self.states is not None else ""
        text = json.dumps({"state": state, "segments": segments, "record": record}, default=vars).encode()
        self._journal.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._journal.flush()
        self._take(record, segments)

    def close(self) -> None:
        """Write the records and the index, which completes the store."""
        self._frames.close()
        records_crc = 0
        self._journal.seek(0)
        with (self.folder / _RECORDS).open("wb") as records:
            for line in self._journal:
                text = json.dumps(json.loads(line[9:])["record"]).encode() + b"\n"
                records_crc = zlib.crc32(text, records_crc)
                records.write(text)
            num_bytes = records.tell()
        self._journal.close()
        (self.folder / _JOURNAL).unlink()
        content = BytesIO()
        np.savez(
            content,
            shape=self.shape,
            segments=np.array(self._segments, np.int64).reshape(-1, 3),
            digests=np.array([digest.encode() for digest in self.digests]),
            sounds=np.array(self._sounds),
            reasons=np.frombuffer(json.dumps(self._reasons).encode(), np.uint8),
            records=np.array([num_bytes, records_crc]),
        )
        (self.folder / _INDEX).write_bytes(seal(content.getvalue()))

    def _take(self, record: FileRecord, segments: Sequence[tuple[int, int]]) -> None:
        self._segments += [(self.num_files, num, checksum) for num, checksum in segments]
        self._sounds.append(record.sound.encode())
        if record.reason:
            self._reasons[self.num_files] = record.reason
        self.num_files += 1

    def _resume(self) -> None:
        """Load existing files up to the first that has changed since or was not written completely."""
        frames, journal = 0, 0
        while (line := self._journal.readline()) and self.states is not None and self.num_files < len(self.states):
            try:
                if int(line[:8], 16) != zlib.crc32(line[9:-1]):
                    break
                entry = json.loads(line[9:])
            except ValueError:
                break
            stored = [
                _read_checksum(self._frames, 2 * num * self.shape[0] * self.shape[1]) for num, _ in entry["segments"]
            ]
            if entry["state"] != self.states[self.num_files] or stored != [
                checksum for _, checksum in entry["segments"]
            ]:
                break
            self._take(FileRecord(**entry["record"]), entry["segments"])
            frames, journal = self._frames.tell(), journal + len(line)
        for file, end in ((self._frames, frames), (self._journal, journal)):
            file.seek(end)
            file.truncate()


def _appendable(path: Path) -> BinaryIO:
    """Open a file for reading and writing from its start, and create it if it is missing."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")


def _read_checksum(file: BinaryIO, num_bytes: int) -> int:
    """Return the checksum of the next bytes of a file, or -1 if fewer bytes are left."""
    checksum = 0
    for start in range(0, num_bytes, _BLOCK):
        size = min(_BLOCK, num_bytes - start)
        block = file.read(size)
        if len(block) < size:
            return -1
        checksum = zlib.crc32(block, checksum)
    return checksum


class Store(ABC):
    """Spectrograms with random access.

    Attributes:
        num_frames: Length of each segment in frames, int64 [S].
    """

    num_frames: Tensor

    @abstractmethod
    def frames(self, segment: int) -> np.ndarray:
        """Return all frames of a segment, int16 [L, C, F], possibly memory-mapped."""

    def read(
        self, segments: Sequence[int], crops: Sequence[float], num_frames: int, silence: np.ndarray | None = None
    ) -> Tensor:
        """Read one crop of each of several segments.

        Args:
            segments: B indices.
            crops: Position of each crop among those possible: 0 for the first, 0.5 for the middle, below 1.
            num_frames: Length of the crops, L; at most the length of the shortest segment.
            silence: A frame of silence, int16 [C, F]. Crops that contain only silence are then excluded, unless all
                crops of a segment do. None to allow every crop.

        Returns:
            spec, float32 [B, C, F, L] in [-1, 1].
        """
        specs = []
        for segment, crop in zip(segments, crops, strict=True):
            frames = self.frames(segment)
            start = _crop_start(frames, crop, num_frames, silence)
            specs.append(frames[start : start + num_frames])
        stacked = torch.from_numpy(np.stack(specs)).permute(0, 2, 3, 1)  # [B, C, F, L]
        return stacked.to(torch.float32, memory_format=torch.contiguous_format).div_(STEPS)


def _crop_start(frames: np.ndarray, crop: float, num_frames: int, silence: np.ndarray | None) -> int:
    """Return the first frame of a crop, which depends only on `crop` and the segment."""
    num_starts = len(frames) - num_frames + 1
    start = int(crop * num_starts)
    # Most crops with sound have some in the middle frame, which is quick to check.
    if num_starts == 1 or silence is None or _audible(frames[start + num_frames // 2][None], silence).any():
        return start
    if _audible(frames[start : start + num_frames], silence).any():
        return start
    starts = audible_starts(frames, num_frames, silence)
    return int(starts[int(crop * len(starts))]) if len(starts) else start


def audible_starts(frames: np.ndarray, num_frames: int, silence: np.ndarray) -> np.ndarray:
    """Return the first frames of all crops that are not completely silent.

    Args:
        frames: int16 [L, C, F].
        num_frames: Length of a crop in frames.
        silence: A frame of silence, int16 [C, F].

    Returns:
        Frame indices, int64 [N], ascending.

    Example:
        >>> audible_starts(np.array([0, 0, 0, 9, 0, 0, 0], np.int16)[:, None, None], 2, np.zeros((1, 1), np.int16))
        array([2, 3])
    """
    counts = np.concatenate([[0], np.cumsum(_audible(frames, silence))])
    return np.flatnonzero(counts[num_frames:] > counts[:-num_frames])


def _audible(frames: np.ndarray, silence: np.ndarray) -> np.ndarray:
    """Return whether each frame, int16 [L, C, F], differs from silence by more than one step, bool [L]."""
    return (np.abs(frames - silence) > 1).any(axis=(1, 2))


class SpectrogramStore(Store):
    """Spectrograms of a set of files. A long file may have several segments; an unusable file has none.

    Args:
        folder: Folder of the store.
        rebuild: Called to rebuild the store if damage is found while it is read. By default, damage is an error.

    Attributes:
        reasons: Reason for each file that is left out, by its index.
        digests: Digest of each file's content, bytes [N].
        sounds: Digest of each file's sound, bytes [N]; see `FileRecord`.
        file: Index of the file of each segment, int64 [S].

    Raises:
        ValueError: If the folder does not contain a complete store.
        PermissionError: If the store may not be read.
    """

    def __init__(self, folder: Path, rebuild: Callable[[], object] | None = None) -> None:
        self.folder, self._rebuild = folder, rebuild
        self._load()

    def _load(self) -> None:
        folder = self.folder
        try:
            with np.load(BytesIO(unsealed((folder / _INDEX).read_bytes()))) as index:
                shape, segments = index["shape"].tolist(), torch.from_numpy(index["segments"])
                self.digests, self.sounds = index["digests"], index["sounds"]
                reasons, records = json.loads(index["reasons"].tobytes()), index["records"].tolist()
            self.reasons = {int(file): reason for file, reason in reasons.items()}
            self.file, self.num_frames, checksums = (column.clone() for column in segments.T)
            size = (int(self.num_frames.sum()), *shape)
            for name, num_bytes in ((_FRAMES, 2 * int(np.prod(size))), (_RECORDS, records[0])):
                if (folder / name).stat().st_size != num_bytes:
                    raise ValueError(f"{folder / name} has the wrong size")
            frames = np.memmap(folder / _FRAMES, np.int16, "r", shape=size) if size[0] else np.zeros(size, np.int16)
        except PermissionError:
            raise
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise ValueError(f"{folder} does not contain a complete set of spectrograms: {error}") from error
        self._first = (torch.cumsum(self.num_frames, 0) - self.num_frames).tolist()
        self._frames, self._records_checksum = frames, records[1]
        self._checksums, self._checked = checksums.tolist(), bytearray(len(checksums))

    def records(self) -> Iterator[FileRecord]:
        """Yield the record of each file without keeping all of them in memory."""
        if not self._records_are_whole():
            self._mend(_RECORDS)
        with (self.folder / _RECORDS).open() as lines:
            for line in lines:
                yield FileRecord(**json.loads(line))

    def frames(self, segment: int) -> np.ndarray:
        """Return all frames of a segment, int16 [L, C, F], memory-mapped."""
        if not self._checked[segment]:
            if not self._segment_is_whole(segment):
                self._mend(f"{_FRAMES}, segment {segment}")
            self._checked[segment] = 1
        return self._stored(segment)

    def is_whole(self) -> bool:
        """Return whether everything in the store is as it was written, by reading all of it."""
        return self._records_are_whole() and all(map(self._segment_is_whole, range(len(self._checksums))))

    def _stored(self, segment: int) -> np.ndarray:
        first = self._first[segment]
        return self._frames[first : first + int(self.num_frames[segment])]

    def _segment_is_whole(self, segment: int) -> bool:
        return zlib.crc32(self._stored(segment).data) == self._checksums[segment]

    def _records_are_whole(self) -> bool:
        with (self.folder / _RECORDS).open("rb") as file:
            return _read_checksum(file, os.fstat(file.fileno()).st_size) == self._records_checksum

    def _mend(self, what: str) -> None:
        """Rebuild the store and load it again.

        Raises:
            OSError: If it cannot be rebuilt or is damaged again.
        """
        message = f"{self.folder} is damaged: wrong checksum of {what}"
        if self._rebuild is None:
            raise OSError(message)
        warnings.warn(f"{message}. Rebuilding the spectrograms", stacklevel=2)
        segments = self.num_frames
        self._rebuild()
        self._load()
        if not torch.equal(self.num_frames, segments) or not self.is_whole():
            raise OSError(f"{message}, even after a rebuild: check the disk")


def quantise(spec: Tensor) -> np.ndarray:
    """Convert spec, float [C, F, L] in [-1, 1], to the stored format, int16 [L, C, F].

    The inverse is in `Store.read`. Values outside [-1, 1] are clamped; the rounding error is at most 0.5 / 32767.
    """
    return (spec.clamp(-1, 1) * STEPS).round().to(torch.int16).permute(2, 0, 1).contiguous().numpy()
