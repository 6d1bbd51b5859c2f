"""From a sound file to its spectrograms as they are stored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from audiogen.audio.io import AudioFileError, AudioInfo, audio_info, read_parts, require_sound
from audiogen.audio.length import fit_length
from audiogen.audio.preprocess import PreprocessStep, preprocess
from audiogen.data.parallel import parallel_map
from audiogen.data.store import FileRecord, quantise
from audiogen.transforms.transform import SpectrogramTransform

Crop = Literal["start", "center", "random"]
FILES_PER_TASK = 32
PARALLEL_FROM = 500  # files: starting the processes takes seconds


@dataclass(frozen=True)
class Recipe:
    """How files become spectrograms.

    Attributes:
        transform: The spectrogram definition.
        steps: What is done to the sound before.
        crop: What is kept of sounds longer than a clip: their start, their centre, or all, of which a random part is
            taken each time.
        min_seconds: Shorter files are left out.
        segment_seconds: Longer files are not read at once. Of such a file, "start" and "center" see one segment,
            "random" takes each for a clip of its own.

    Raises:
        ValueError: For values out of range.
    """

    transform: SpectrogramTransform
    steps: Sequence[PreprocessStep] = ()
    crop: Crop = "start"
    min_seconds: float = 0.05
    segment_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop must be {', '.join(get_args(Crop))}, got {self.crop!r}")
        if self.segment_seconds < self.transform.seconds:
            raise ValueError(
                f"segment_seconds must be at least a clip, {self.transform.seconds:.2f} s, got {self.segment_seconds}"
            )

    def parts(self, info: AudioInfo) -> list[tuple[float, float]]:
        """Return start and duration in seconds of what is read of a file."""
        segment = self.segment_seconds
        if info.seconds <= segment or self.crop == "start":
            return [(0.0, min(info.seconds, segment))]
        if self.crop == "center":
            return [((info.seconds - segment) / 2, segment)]
        starts = [index * segment for index in range(ceil(info.seconds / segment))]
        return [(start, segment) for start in starts if info.seconds - start >= self.transform.seconds]

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
    pieces: list[np.ndarray]


def process_all(
    paths: Sequence[Path], recipe: Recipe, num_workers: int, on_file: Callable[[], object]
) -> Iterator[Processed]:
    """Process files in order.

    Args:
        paths: The files.
        recipe: How they become spectrograms.
        num_workers: Processes; few files are processed in this one.
        on_file: Called after each file.

    Yields:
        What became of each file.
    """
    tasks = [paths[first : first + FILES_PER_TASK] for first in range(0, len(paths), FILES_PER_TASK)]
    few = len(paths) < PARALLEL_FROM
    for results in parallel_map(partial(_process_task, recipe=recipe), tasks, 1 if few else num_workers):
        for result in results:
            yield result
            on_file()


@torch.no_grad()
def process(path: Path, recipe: Recipe) -> Processed:
    """Read a file and compute its spectrograms; a file that cannot be used gets a record with the reason."""
    sample_rate = recipe.transform.sample_rate
    info = None
    try:
        info = audio_info(path, recipe.min_seconds)
        kept, changes = _read(path, recipe, info)
    except AudioFileError as error:
        known = (0.0, 0, 0) if info is None else (info.seconds, info.sample_rate, info.num_channels)
        return Processed(FileRecord(str(error), *known), [])
    pieces = [recipe.transform(recipe.fit(wav)[None])[0] for wav in kept]  # [C, F, L] each
    clip = recipe.transform.num_samples
    used = sum(wav.shape[1] for wav in kept)
    record = FileRecord(
        "",
        info.seconds,
        info.sample_rate,
        info.num_channels,
        used_seconds=used / sample_rate,
        padded=kept[0].shape[1] < clip,
        truncated=recipe.crop != "random" and (info.seconds > sum(d for _, d in recipe.parts(info)) or used > clip),
        rms_db=float(10 * torch.log10(torch.cat(kept, dim=1).square().mean().clamp_min(1e-20))),
        low=float(min(piece.min() for piece in pieces)),
        high=float(max(piece.max() for piece in pieces)),
        changes=changes,
    )
    return Processed(record, [quantise(piece) for piece in pieces])


def clip_waveform(path: Path, recipe: Recipe) -> Tensor:
    """Return what a clip of a file is made of: preprocessed and cut to length, float32 [C, T].

    Of a file that "random" takes parts of, it is the start.

    Raises:
        AudioFileError: Where the file cannot be used.
    """
    kept, _ = _read(path, recipe, audio_info(path, recipe.min_seconds))
    return recipe.fit(kept[0])[:, : recipe.transform.num_samples]


def _read(path: Path, recipe: Recipe, info: AudioInfo) -> tuple[list[Tensor], list[Any]]:
    """Return the preprocessed parts of a file, float32 [C, T] each, and what was done to them; at least one.

    Raises:
        AudioFileError: Where the file cannot be read, or none of its parts is of use.
    """
    kept, changes, refused = [], [], []
    shape = (recipe.transform.sample_rate, recipe.transform.shape[0])
    for part in read_parts(path, *shape, recipe.parts(info)):
        try:
            wav, change = preprocess(require_sound(part), shape[0], recipe.steps)
        except AudioFileError as error:
            refused.append(error)
            continue
        kept.append(wav)
        changes.append(change)
    if not kept:
        raise refused[0]
    return kept, changes


def _process_task(paths: Sequence[Path], recipe: Recipe) -> list[Processed]:
    return [process(path, recipe) for path in paths]
