"""From a sound file to its spectrograms as they are stored."""

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
CUT_SEGMENTS = 20  # of a recording, so that a small part of them can be for validation
PARALLEL_FROM = 30_000_000  # bytes of sound files: starting the processes takes seconds


@dataclass(frozen=True)
class Pipeline:
    """How files become spectrograms.

    Attributes:
        transform: The spectrogram definition.
        steps: What is done to the sound before.
        crop: What is kept of sounds longer than a clip: their start, their centre, or all, of which a random part is
            taken each time.
        min_seconds: Shorter files are left out.
        segment_seconds: Longer files are not read at once. Of such a file, "start" and "center" see one segment,
            "random" takes each for a clip of its own.
        cut: Whether files are recordings, cut into clips from one end to the other; for "random", into longer segments
            of which clips are taken.

    Raises:
        ValueError: For values out of range.
    """

    transform: SpectrogramTransform
    steps: Sequence[PreprocessStep] = ()
    crop: Crop = "start"
    min_seconds: float = 0.05
    segment_seconds: float = 60.0
    cut: bool = False

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop must be {', '.join(get_args(Crop))}, got {self.crop!r}")
        if not self.min_seconds >= 0:
            raise ValueError(f"min_seconds must be >= 0, got {self.min_seconds}")
        if not self.segment_seconds >= self.transform.seconds:
            raise ValueError(
                f"segment_seconds must be at least a clip, {self.transform.seconds:.2f} s, got {self.segment_seconds}"
            )

    def parts(self, info: AudioInfo) -> list[tuple[float, float]]:
        """Return start and duration in seconds of what is read of a file."""
        segment = self.segment_seconds
        if self.cut:
            longest = min(segment, info.seconds / CUT_SEGMENTS) if self.crop == "random" else 0.0
            segment = max(self.transform.seconds, longest)
            # At least one, a hundredth of a clip short of the last one at most.
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

    def fit(self, wav: Tensor) -> Tensor:
        """Pad wav [C, T] to a clip, or cut it to one."""
        clip = self.transform.num_samples
        if self.crop == "random":
            return fit_length(wav, max(clip, wav.shape[1]))
        start = max(wav.shape[1] - clip, 0) // 2 if self.crop == "center" else 0
        return fit_length(wav[:, start:], clip)


class Processed(NamedTuple):
    """A file's record and its spectrograms, int16 [L, C, F] each."""

    record: FileRecord
    segments: list[np.ndarray]


def process_all(
    paths: Sequence[Path], pipeline: Pipeline, num_workers: int, on_file: Callable[[], object]
) -> Generator[Processed, None, None]:
    """Process files in order.

    Args:
        paths: The files.
        pipeline: How they become spectrograms.
        num_workers: Processes; few files are processed in this one.
        on_file: Called after each file.

    Yields:
        What became of each file.
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
    """Read a file and compute its spectrograms; a file that cannot be used gets a record with the reason."""
    info = None
    try:
        info = audio_info(path, pipeline.min_seconds)
        return _process_parts(path, pipeline, info)
    except AudioFileError as error:
        known = (0.0, 0, 0) if info is None else (info.seconds, info.sample_rate, info.num_channels)
        return Processed(FileRecord(str(error), *known), [])
    except Exception as error:  # of a step or a transform
        raise DatasetError(f"{path}: {type(error).__name__}: {error}") from error


def _process_parts(path: Path, pipeline: Pipeline, info: AudioInfo) -> Processed:
    """Compute the spectrograms of a file part by part, holding one part of the sound at a time.

    Raises:
        AudioFileError: Where the file cannot be read, or none of its parts is of use.
    """
    sample_rate, clip = pipeline.transform.sample_rate, pipeline.transform.num_samples
    segments, changes, refused, used, energy, low, high = [], [], [], 0, 0.0, 1.0, -1.0
    sounds: list[str] = []
    for outcome in _read(path, pipeline, info, pipeline.parts(info), sounds.append):
        if isinstance(outcome, AudioFileError):
            refused.append(str(outcome))
            continue
        wav, change = outcome
        spec = pipeline.transform(pipeline.fit(wav)[None])[0]  # [C, F, L]
        lowest, highest = spec.aminmax()
        low, high = min(low, float(lowest)), max(high, float(highest))
        norm = float(torch.linalg.vector_norm(wav, dtype=torch.float64))
        used, energy = used + wav.shape[1], energy + norm**2 / len(wav)
        segments.append(quantise(spec))
        changes.append(change)
    if not segments:
        raise AudioFileError(refused[0])
    whole = pipeline.crop == "random" or pipeline.cut
    read_seconds = sum(seconds for _, seconds in pipeline.parts(info))
    record = FileRecord(
        "",
        info.seconds,
        info.sample_rate,
        info.num_channels,
        kept_seconds=used / sample_rate if whole else min(used, clip) / sample_rate,
        padded=used < clip,
        truncated=info.seconds > read_seconds + 1e-3 or (not whole and used > clip),
        rms_db=float(10 * np.log10(max(energy / used, 1e-20))),
        low=low,
        high=high,
        silent_crops=_silent_crops(segments, pipeline),
        changes=changes,
        dropped=refused,
        sound=fingerprint(sounds),
    )
    return Processed(record, segments)


def _silent_crops(segments: Sequence[np.ndarray], pipeline: Pipeline) -> float:
    """Return the fraction of the places where a crop can begin from which nothing would be heard."""
    clip = pipeline.transform.shape[2]
    if max(map(len, segments)) == clip:
        return 0.0
    silence = pipeline.silence()
    audible = sum(len(audible_starts(segment, clip, silence)) for segment in segments)
    return 1 - audible / sum(len(segment) - clip + 1 for segment in segments)


def clip_waveform(path: Path, pipeline: Pipeline, span: tuple[float, float] | None = None) -> Tensor:
    """Return what a clip of a file is made of: preprocessed and cut to length, float32 [C, T].

    Args:
        path: The file.
        pipeline: How it becomes clips. Of a file that "random" takes parts of, the clip is the start.
        span: Of a recording, where to look for the first clip; see `AudioItem`.

    Raises:
        AudioFileError: Where there is nothing of use in it.
    """
    info = audio_info(path, pipeline.min_seconds)
    pipeline = replace(pipeline, cut=span is not None)
    parts = pipeline.parts(info)
    start, end = (round(place * len(parts)) for place in span or (0.0, 1.0))
    refused = AudioFileError("too short (no clip of it is in this split)")
    for outcome in _read(path, pipeline, info, parts[start:end] if span else parts[:1]):
        if not isinstance(outcome, AudioFileError):
            return pipeline.fit(outcome[0])[:, : pipeline.transform.num_samples]
        refused = outcome
    raise refused


def _read(
    path: Path,
    pipeline: Pipeline,
    info: AudioInfo,
    parts: Sequence[tuple[float, float]],
    on_sound: Callable[[str], object] = str,
) -> Iterator[tuple[Tensor, list[Change]] | AudioFileError]:
    """Yield each part of a file after preprocessing, float32 [C, T], with what was done to it; or why it is no use.

    Args:
        path: The file.
        pipeline: What is done to the parts.
        info: The file's header.
        parts: Start and duration of each in seconds.
        on_sound: Is given a digest of the samples of each part before preprocessing.

    Raises:
        AudioFileError: Where the file cannot be read.
    """
    shape = (pipeline.transform.sample_rate, pipeline.transform.shape[0])
    for part in read_parts(path, *shape, parts, info):
        on_sound(fingerprint(part))
        try:
            wav, change = preprocess(require_sound(part), shape[0], pipeline.steps)
            if pipeline.crop != "random":
                require_sound(
                    pipeline.fit(wav)[:, : wav.shape[1]], f"of the {pipeline.crop} that is taken, every sample is"
                )
        except AudioFileError as error:
            yield error
        else:
            yield wav, change


def _name(paths: Sequence[Path]) -> str:
    return f"{paths[0]} ... {paths[-1].name} ({len(paths)} files)" if paths[1:] else str(paths[0])


def _process_task(paths: Sequence[Path], pipeline: Pipeline) -> list[Processed]:
    return [process(path, pipeline) for path in paths]
