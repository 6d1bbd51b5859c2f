"""Turn audio files into spectrograms as they are stored: WAV -> clip -> spectrogram -> int16 frames.

`process` follows this path for one file, `process_all` for many. What happens next is elsewhere:

1. `cache.cached_store` opens the store of a set of files. If it is missing, it is built with `process_all`.
2. `store` writes the frames to disk and reads crops of them.
3. `stream` chooses the crops of each training batch.
4. `loading.Spectrograms.__getitems__` reads these crops and returns them as a `Batch`.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from audiogen.audio.io import AudioFileError, AudioInfo, audio_info, read_parts, require_sound
from audiogen.audio.length import fit_length
from audiogen.audio.preprocess import Change, PreprocessStep, preprocess
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.parallel import parallel_map
from audiogen.data.store import FileRecord, audible_starts, quantise
from audiogen.fingerprint import fingerprint
from audiogen.transforms.transform import SpectrogramTransform

Crop = Literal["start", "center", "random"]
FILES_PER_TASK = 32
CUT_SEGMENTS = 20  # of a recording with random crops, so that a small fraction of them can be used for validation
PARALLEL_FROM = 30_000_000  # bytes of audio files; starting worker processes takes seconds


@dataclass(frozen=True)
class Pipeline:
    """Settings that turn files into spectrograms.

    Attributes:
        transform: The spectrogram definition.
        steps: Preprocessing steps, in order.
        crop: Part to keep of sounds longer than a clip: "start", "center", or "random", which keeps everything so that
            a random crop can be taken each time.
        min_seconds: Shortest file to use, in seconds.
        segment_seconds: Longest segment to read at once, in seconds. Of a longer file, "start" and "center" use one
            segment, and "random" uses each segment as a separate clip.
        cut: Treat files as recordings and cut them into consecutive clips; with "random", into longer segments, which
            crops are taken from.

    Raises:
        ValueError: If `crop` is unknown, `min_seconds` is negative, or `segment_seconds` is shorter than a clip.
    """

    transform: SpectrogramTransform
    steps: Sequence[PreprocessStep] = ()
    crop: Crop = "start"
    min_seconds: float = 0.05
    segment_seconds: float = 60.0
    cut: bool = False

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop must be one of {', '.join(get_args(Crop))}, got {self.crop!r}")
        if not self.min_seconds >= 0:
            raise ValueError(f"min_seconds must be >= 0, got {self.min_seconds}")
        if not self.segment_seconds >= self.transform.seconds:
            raise ValueError(
                "segment_seconds must be at least the length of a clip, "
                f"{self.transform.seconds:.2f} s, got {self.segment_seconds}"
            )

    def segment_times(self, info: AudioInfo) -> list[tuple[float, float]]:
        """Return (start, duration) in seconds of each segment to read of a file."""
        segment = self.segment_seconds
        if self.cut:
            longest = min(segment, info.seconds / CUT_SEGMENTS) if self.crop == "random" else 0.0
            segment = max(self.transform.seconds, longest)
            # At least one segment; the last one may lack up to a hundredth of its length.
            num = max(int(info.seconds / segment + 0.01), 1)
            return [(index * segment, segment) for index in range(num)]
        if info.seconds <= segment or self.crop == "start":
            return [(0.0, min(info.seconds, segment))]
        if self.crop == "center":
            return [((info.seconds - segment) / 2, segment)]
        starts = [index * segment for index in range(ceil(info.seconds / segment))]
        return [(start, segment) for start in starts if info.seconds - start >= self.transform.seconds]

    @torch.no_grad()
    def silence(self) -> np.ndarray:
        """Return a frame of silence as it is stored, int16 [C, F]."""
        silent = torch.zeros(1, self.transform.shape[0], self.transform.num_samples)
        return quantise(self.transform(silent)[0])[self.transform.shape[2] // 2]

    def pad_or_crop(self, wav: Tensor) -> Tensor:
        """Pad or cut wav, float32 [C, T], to the length of a clip. Random crops keep longer sounds whole."""
        clip = self.transform.num_samples
        if self.crop == "random":
            return fit_length(wav, max(clip, wav.shape[1]))
        start = max(wav.shape[1] - clip, 0) // 2 if self.crop == "center" else 0
        return fit_length(wav[:, start:], clip)


class Processed(NamedTuple):
    """Result of processing one file.

    Attributes:
        record: What became of the file.
        segments: Spectrogram of each segment as it is stored, int16 [L, C, F]. Empty if the file is left out.
    """

    record: FileRecord
    segments: list[np.ndarray]


def process_all(
    paths: Sequence[Path], pipeline: Pipeline, num_workers: int, on_file: Callable[[], object]
) -> Generator[Processed, None, None]:
    """Process files in order.

    Args:
        paths: Audio files.
        pipeline: How they become spectrograms.
        num_workers: Number of worker processes. Small sets of files are processed in this process.
        on_file: Called after each file.

    Yields:
        The result for each file.
    """
    size = max(min(FILES_PER_TASK, len(paths) // (4 * num_workers)), 1)
    tasks = [paths[first : first + size] for first in range(0, len(paths), size)]
    few = sum(path.stat().st_size for path in paths if path.exists()) < PARALLEL_FROM
    task = partial(_process_task, pipeline=pipeline)
    with closing(parallel_map(task, tasks, 1 if few else num_workers, _name)) as done:
        for results in done:
            for result in results:
                yield result
                on_file()


@torch.no_grad()
def process(path: Path, pipeline: Pipeline) -> Processed:
    """Read a file and compute its spectrograms. If the file cannot be used, its record contains the reason.

    Raises:
        DatasetError: If a preprocessing step or the transform fails.
    """
    info = None
    try:
        info = audio_info(path, pipeline.min_seconds)
        return _process_segments(path, pipeline, info)
    except AudioFileError as error:
        header = (0.0, 0, 0) if info is None else (info.seconds, info.sample_rate, info.num_channels)
        return Processed(FileRecord(str(error), *header), [])
    except Exception as error:
        raise DatasetError(f"{path}: {type(error).__name__}: {error}") from error


def _process_segments(path: Path, pipeline: Pipeline, info: AudioInfo) -> Processed:
    """Compute the spectrograms of a file segment by segment, with only one segment of the sound in memory.

    Raises:
        AudioFileError: If the file cannot be read or none of its segments can be used.
    """
    log = _Log()
    frames = []
    for wav in _read_usable(path, pipeline, info, log):  # WAV: preprocessed sound, float32 [C, T]
        clip = pipeline.pad_or_crop(wav)  # clip, float32 [C, T]
        spec = pipeline.transform(clip[None])[0]  # spectrogram, float32 [C, F, L] in [-1, 1]
        frames.append(quantise(spec))  # what is stored, int16 [L, C, F]
        log.add(wav, spec)
    if not frames:
        raise AudioFileError(log.dropped[0])
    return Processed(_record(info, pipeline, log, frames), frames)


class _Log:
    """Statistics of the segments of one file, for its record.

    Attributes:
        sounds: Digest of the samples of each segment before preprocessing.
        changes: Changes made by the preprocessing steps to each segment that is used.
        dropped: Reason for each segment that is left out.
        num_samples: Samples that are used, after preprocessing.
        energy: Sum of their squares, averaged over channels.
        low: Smallest value of the spectrograms.
        high: Largest value of the spectrograms.
    """

    def __init__(self) -> None:
        self.sounds: list[str] = []
        self.changes: list[list[Change]] = []
        self.dropped: list[str] = []
        self.num_samples, self.energy, self.low, self.high = 0, 0.0, 1.0, -1.0

    def add(self, wav: Tensor, spec: Tensor) -> None:
        """Add a segment: its preprocessed wav [C, T] and its spectrogram [C, F, L]."""
        lowest, highest = spec.aminmax()
        self.low, self.high = min(self.low, float(lowest)), max(self.high, float(highest))
        norm = float(torch.linalg.vector_norm(wav, dtype=torch.float64))
        self.num_samples, self.energy = self.num_samples + wav.shape[1], self.energy + norm**2 / len(wav)


def _read_usable(path: Path, pipeline: Pipeline, info: AudioInfo, log: _Log) -> Iterator[Tensor]:
    """Yield the preprocessed sound, float32 [C, T], of each segment that can be used; log the others' reasons.

    Raises:
        AudioFileError: If the file cannot be read.
    """
    for wav in _read(path, pipeline, info, pipeline.segment_times(info)):
        log.sounds.append(fingerprint(wav))
        try:
            usable, changes = _preprocessed(wav, pipeline)
        except AudioFileError as error:
            log.dropped.append(str(error))
            continue
        log.changes.append(changes)
        yield usable


def _read(path: Path, pipeline: Pipeline, info: AudioInfo, times: Sequence[tuple[float, float]]) -> Iterator[Tensor]:
    """Yield segments of a file, float32 [C, T], at the transform's sample rate and with its channels."""
    return read_parts(path, pipeline.transform.sample_rate, pipeline.transform.shape[0], times, info)


def _preprocessed(wav: Tensor, pipeline: Pipeline) -> tuple[Tensor, list[Change]]:
    """Apply the preprocessing steps to wav, float32 [C, T]; return the result and what each step changed.

    Raises:
        AudioFileError: If the segment, or the clip that is taken from it, cannot be used.
    """
    wav, changes = preprocess(require_sound(wav), pipeline.transform.sample_rate, pipeline.steps)
    if pipeline.crop != "random":
        require_sound(pipeline.pad_or_crop(wav)[:, : wav.shape[1]], f"in the {pipeline.crop} crop, every sample is")
    return wav, changes


def _record(info: AudioInfo, pipeline: Pipeline, log: _Log, frames: Sequence[np.ndarray]) -> FileRecord:
    """Return the record of a file that is used."""
    sample_rate, clip = pipeline.transform.sample_rate, pipeline.transform.num_samples
    used = log.num_samples
    whole = pipeline.crop == "random" or pipeline.cut
    read_seconds = sum(seconds for _, seconds in pipeline.segment_times(info))
    return FileRecord(
        "",
        info.seconds,
        info.sample_rate,
        info.num_channels,
        kept_seconds=used / sample_rate if whole else min(used, clip) / sample_rate,
        padded=used < clip,
        truncated=info.seconds > read_seconds + 1e-3 or (not whole and used > clip),
        rms_db=float(10 * np.log10(max(log.energy / used, 1e-20))),
        low=log.low,
        high=log.high,
        silent_crops=_silent_crops(frames, pipeline),
        changes=log.changes,
        dropped=log.dropped,
        sound=fingerprint(log.sounds),
    )


def _silent_crops(segments: Sequence[np.ndarray], pipeline: Pipeline) -> float:
    """Return the fraction of possible random crops that contain only silence."""
    clip = pipeline.transform.shape[2]
    if max(map(len, segments)) == clip:
        return 0.0
    silence = pipeline.silence()
    audible = sum(len(audible_starts(segment, clip, silence)) for segment in segments)
    return 1 - audible / sum(len(segment) - clip + 1 for segment in segments)


def _process_task(paths: Sequence[Path], pipeline: Pipeline) -> list[Processed]:
    return [process(path, pipeline) for path in paths]


def _name(paths: Sequence[Path]) -> str:
    return f"{paths[0]} ... {paths[-1].name} ({len(paths)} files)" if paths[1:] else str(paths[0])


def clip_waveform(path: Path, pipeline: Pipeline, span: tuple[float, float] | None = None) -> Tensor:
    """Return the preprocessed sound of a file's clip, float32 [C, T], before the spectrogram is computed.

    Args:
        path: Audio file.
        pipeline: How the file becomes clips. With random crops, the clip is the start of the sound.
        span: For a recording, the range in which to use the first clip; see `AudioItem`.

    Raises:
        AudioFileError: If the file contains no clip that can be used.
    """
    info = audio_info(path, pipeline.min_seconds)
    pipeline = replace(pipeline, cut=span is not None)
    times = pipeline.segment_times(info)
    start, end = (round(fraction * len(times)) for fraction in span or (0.0, 1.0))
    reason = AudioFileError("too short (no clip of it is in this split)")
    for wav in _read(path, pipeline, info, times[start:end] if span else times[:1]):
        try:
            usable, _ = _preprocessed(wav, pipeline)
        except AudioFileError as error:
            reason = error
        else:
            return pipeline.pad_or_crop(usable)[:, : pipeline.transform.num_samples]
    raise reason
