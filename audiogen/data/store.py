"""Spectrograms on disk: one memory-mapped file of frames, an index of it, and what became of the files they come from.

Frames are stored one after another, int16 [N, C, F] with 32767 for 1: 0.001 dB on a scale of 90 dB, half the size of
float32. So any stretch of a clip is one contiguous piece, and a set may be larger than memory.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

STEPS = 32767  # of int16 for 1
_FRAMES, _INDEX, _REASONS, _RECORDS = "frames.i16", "index.npz", "reasons.json", "records.jsonl"


@dataclass(frozen=True)
class FileRecord:
    """What became of one sound file.

    Attributes:
        reason: Why it was left out; empty for a file that is used.
        seconds: Duration of the file as it is, 0 where unknown.
        sample_rate: Of the file in Hz, 0 where unknown.
        num_channels: Of the file, 0 where unknown.
        kept_seconds: Duration of the sound that is stored.
        padded: Whether silence was added to fill a clip.
        truncated: Whether some of the sound was left out.
        rms_db: Level of what is kept, in dB relative to full scale.
        low: Smallest value of its spectrogram.
        high: Largest value of its spectrogram.
        changes: What each preprocessing step did to each part, as plain values.
        dropped: Why parts of a long file were left out.
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
    changes: list[Any] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


class StoreWriter:
    """Append spectrograms to a new store.

    Args:
        folder: Made, and empty at first; nothing in it is valid before `close`.
        shape: (C, F) of a frame.
        digests: Of the content of each file to come.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], digests: Sequence[str]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.shape, self.digests = folder, shape, digests
        self._reasons: dict[int, str] = {}
        self._segments: list[tuple[int, int]] = []
        self._num_files = 0
        self._frames = (folder / _FRAMES).open("wb")
        self._records = (folder / _RECORDS).open("w")

    def add(self, record: FileRecord, pieces: Sequence[np.ndarray]) -> None:
        """Append the next file with its spectrograms, int16 [L, C, F] each."""
        for piece in pieces:
            self._segments.append((self._num_files, len(piece)))
            self._frames.write(np.ascontiguousarray(piece).data)
        if record.reason:
            self._reasons[self._num_files] = record.reason
        self._records.write(json.dumps(asdict(record)) + "\n")
        self._num_files += 1

    def close(self) -> None:
        """Write the index."""
        self._frames.close()
        self._records.close()
        (self.folder / _REASONS).write_text(json.dumps(self._reasons))
        segments = np.array(self._segments, np.int64).reshape(-1, 2)
        digests = np.array([digest.encode() for digest in self.digests])
        records = (self.folder / _RECORDS).stat().st_size
        np.savez(self.folder / _INDEX, shape=self.shape, segments=segments, digests=digests, records=records)


class Store(ABC):
    """Spectrograms that can be read from anywhere.

    Attributes:
        num_frames: Of each segment, int64 [S].
    """

    num_frames: Tensor

    @abstractmethod
    def frames(self, segment: int) -> np.ndarray:
        """Return all frames of a segment, int16 [L, C, F]; they may lie on disk."""

    def read(self, segments: Sequence[int], crops: Sequence[float], num_frames: int) -> Tensor:
        """Read a stretch of each of several segments.

        Args:
            segments: B indices.
            crops: Where each stretch lies in what there is to choose from: 0 at the start, 0.5 in the middle, below 1.
            num_frames: L, at most the shortest segment's.

        Returns:
            spec, float32 [B, C, F, L] in [-1, 1].
        """
        pieces = []
        for segment, crop in zip(segments, crops, strict=True):
            start = int(crop * (int(self.num_frames[segment]) - num_frames + 1))
            pieces.append(self.frames(segment)[start : start + num_frames])
        stacked = torch.from_numpy(np.stack(pieces)).permute(0, 2, 3, 1)  # [B, C, F, L]
        return stacked.to(torch.float32, memory_format=torch.contiguous_format).div_(STEPS)


class SpectrogramStore(Store):
    """Spectrograms of a set of files. A long file may have several segments, an unusable one none.

    Attributes:
        folder: Where it lies.
        reasons: Why files were left out, by their index.
        digests: Of the content of each file, bytes [N].
        file: Index of the file of each segment, int64 [S].

    Raises:
        ValueError: For a folder that holds no whole store.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.reasons = {int(index): reason for index, reason in json.loads((folder / _REASONS).read_text()).items()}
            with np.load(folder / _INDEX) as index:
                shape, segments = index["shape"].tolist(), torch.from_numpy(index["segments"])
                self.digests, records = index["digests"], int(index["records"])
            self.file, self.num_frames = segments[:, 0].clone(), segments[:, 1].clone()
            size = (int(self.num_frames.sum()), *shape)
            for name, num_bytes in ((_FRAMES, 2 * int(np.prod(size))), (_RECORDS, records)):
                if (folder / name).stat().st_size != num_bytes:
                    raise ValueError(f"{folder / name} has the wrong size")
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise ValueError(f"{folder} holds no whole set of spectrograms: {error}") from error
        self.folder = folder
        self._first = torch.cumsum(self.num_frames, 0) - self.num_frames
        self._frames = np.memmap(folder / _FRAMES, np.int16, "r", shape=size) if size[0] else np.zeros(size, np.int16)

    def records(self) -> Iterator[FileRecord]:
        """Yield what became of each file; they are not kept in memory."""
        with (self.folder / _RECORDS).open() as lines:
            for line in lines:
                yield FileRecord(**json.loads(line))

    def frames(self, segment: int) -> np.ndarray:
        """Return all frames of a segment, int16 [L, C, F], on disk."""
        first = int(self._first[segment])
        return self._frames[first : first + int(self.num_frames[segment])]


def quantise(spec: Tensor) -> np.ndarray:
    """Turn spec, float [C, F, L] in [-1, 1], into what is stored, int16 [L, C, F]."""
    return (spec.clamp(-1, 1) * STEPS).round().to(torch.int16).permute(2, 0, 1).contiguous().numpy()
