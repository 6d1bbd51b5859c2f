"""Convert sounds with a trained model: files or whole folders, of any length, in bounded memory."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from audiogen.audio.formats import AUDIO_SUFFIXES
from audiogen.audio.io import AudioFileError, AudioWriteError, audio_info, audio_writer, stream_audio
from audiogen.checkpoint import load
from audiogen.commands.generate import pick_device
from audiogen.data.datasets.folder import find_sounds
from audiogen.models.kimg import KimgModule
from audiogen.outputs import check_output_file, check_output_folder, start_output_folder
from audiogen.terminal import printable
from audiogen.transforms.streaming import spectrogram_blocks, waveform_blocks

BLOCK_FRAMES = 512  # about; the memory that a file takes, however long it is


@dataclass(frozen=True)
class Converted:
    """What `convert` made.

    Attributes:
        target: The domain it was converted to.
        sample_rate: In Hz.
        seconds: Of sound that was converted.
        wav: float32 [C, T], where no file was to be written.
        files: What was written.
        skipped: Files of a folder that could not be read, with the reason.
    """

    target: str
    sample_rate: int
    seconds: float
    wav: Tensor | None = None
    files: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say what was made and where it is."""
        made = f"Converted {self.seconds:.1f} s of sound to {self.target}, at {self.sample_rate} Hz"
        if self.files:
            made += f": {self.files[0]}" + (
                f" ... {self.files[-1]} ({len(self.files)} files)" if self.files[1:] else ""
            )
        lines = [f"  left out: {path}: {reason}" for path, reason in self.skipped.items()]
        return "\n".join([made, *lines])


def convert(
    checkpoint: str | Path | KimgModule,
    source: str | Path,
    target: str | int | None = None,
    out: str | Path | None = None,
    overlap: float = 0.5,
    device: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Make sounds of one domain into sounds of another.

    Sounds are resampled to the model's rate and mixed to its channels; what comes back has this rate and the length of
    the source, to within one hop. A sound is converted in segments, which are crossfaded, and its phases are found
    block by block, each going on from the one before.

    Args:
        checkpoint: Checkpoint, run directory (its newest checkpoint) or a loaded model.
        source: Sound file (wav, flac, ogg, mp3, aiff, opus) of any length and sample rate, or a folder of them.
        target: Domain to convert to, by name or index. Defaults to the model's only target, or the last of two domains.
        out: File to write, whose suffix chooses the format, or a new or empty folder, which preserves names, formats
            and the directory tree. From Python, None writes nothing (for a single file).
        overlap: Fraction of a segment that the next one overlaps, in [0, 1).
        device: Device, such as cuda. By default a GPU if there is one.
        overwrite: Replace an earlier result in the folder. Other files are never removed.

    Returns:
        What was made.

    Raises:
        CheckpointError: Where the checkpoint cannot be used.
        DatasetError: For a folder without sounds.
        OSError: If the disk is full. The sounds converted before are whole.
        OutputError: If an input would be overwritten, or the folder holds an earlier result or files of other origin.
        ValueError: For a model of another kind, a target it does not have, a file that cannot be read, and places that
            cannot be written to.
    """
    place = Path(source)
    if not place.exists():
        raise ValueError(f"no sound file or folder {place}")
    inputs = [Path(checkpoint)] if isinstance(checkpoint, str | Path) else []
    places = {} if out is None else _places(place, Path(out), inputs, overwrite)
    model: Any = load(checkpoint, pick_device(device)) if isinstance(checkpoint, str | Path) else checkpoint
    if not hasattr(model, "convert"):
        raise ValueError(f"{type(model).__name__} does not convert sounds: name a checkpoint of a MelGAN-VC")
    index = _target(target, model)
    model.hop_frames(overlap)  # refuses what is out of range
    if out is None:
        if place.is_dir():
            raise ValueError(f"{place} is a folder: name one to write to")
        return _convert_one(model, place, index, overlap)
    if not _is_file(place, Path(out)):
        names = [path.relative_to(out).as_posix() for path in places.values()]
        start_output_folder(Path(out), names, [*places, *inputs], keep=place.is_file())
    seconds, files, skipped = 0.0, [], {}
    with tqdm(total=len(places), unit="file", disable=None if len(places) > 1 else True) as bar:
        for path, written in places.items():
            try:
                seconds += _convert_file(model, path, written, index, overlap)
                files.append(written)
            except (AudioFileError, AudioWriteError) as error:
                skipped[path] = str(error)
            except OSError as error:
                reason = f"{error.strerror}: {len(files)} of {len(places)} sounds are converted and written"
                raise OSError(error.errno, reason, str(written)) from error
            bar.update()
    if not files:
        path, reason = next(iter(skipped.items()))
        raise ValueError(
            f"nothing was converted: {path}: {reason}" + (f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else "")
        )
    return Converted(model.label_names[index], model.transform.sample_rate, seconds, None, files, skipped)


def _target(target: str | int | None, model: Any) -> int:
    """Return the index of a target domain; of two domains, the last one where none is named.

    Raises:
        ValueError: For one that the model does not have, and where none is named of several.
    """
    names = {index: model.label_names[index] for index in model.targets}
    if target is None and len(model.label_names) == 2:
        return model.targets[-1]
    if target is None and len(names) == 1:
        return model.targets[0]
    by_name = {name: index for index, name in names.items()}
    by_number = {str(index): index for index in names}
    found = (by_number | by_name).get(str(target))  # a name that looks like a number comes first
    if target is None or found is None:
        asked = "name a target" if target is None else f"no target {target!r}"
        raise ValueError(f"{asked}: this model converts to {', '.join(names.values())}")
    return found


def _places(source: Path, out: Path, inputs: Sequence[Path], overwrite: bool) -> dict[Path, Path]:
    """Return where each sound is to be written, once it is known that it can be.

    Raises:
        OutputError: Where an input would be overwritten, or nothing can be written.
        ValueError: Where a folder should become a file, and for a file of no known format.
    """
    if source.is_dir():
        if out.is_file() or out.suffix.lower() in AUDIO_SUFFIXES:
            raise ValueError(f"{source} is a folder and {out} a file: name a folder to write to")
        if out.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{out} is in the source folder {source}, whose sounds could be overwritten: name another")
        places = {path: out / path.relative_to(source) for path in find_sounds(source)}
        check_output_folder(out, overwrite)
        return places
    if out.suffix and not out.is_dir() and out.suffix.lower() not in AUDIO_SUFFIXES:
        raise ValueError(f"{out} should end in one of {', '.join(sorted(AUDIO_SUFFIXES))}, or be a folder")
    if _is_file(source, out):
        return {source: check_output_file(out, [source, *inputs])}
    place = out / source.name
    if place.resolve() == source.resolve():
        raise ValueError(f"{place} would overwrite the source: name another place")
    check_output_folder(out, overwrite or not os.path.lexists(place))  # one more sound in a folder of them
    return {source: place}


def _is_file(source: Path, out: Path) -> bool:
    """Return whether `out` is the file to write, not the folder for it."""
    return source.is_file() and bool(out.suffix) and not out.is_dir()


def _convert_file(model: Any, path: Path, out: Path, target: int, overlap: float) -> float:
    """Convert a file to another one and return its seconds."""
    samples = 0
    with ExitStack() as stack:
        write: Callable[[Tensor], None] | None = None
        for wav in _stream(model, path, target, overlap):
            # Opened once there is something to write: a file that cannot be read leaves nothing.
            write = write or stack.enter_context(audio_writer(out, model.transform.sample_rate, len(wav)))
            write(wav)
            samples += wav.shape[1]
    return samples / model.transform.sample_rate


def _convert_one(model: Any, path: Path, target: int, overlap: float) -> Converted:
    """Convert a file to a waveform.

    Raises:
        ValueError: Where it cannot be read.
    """
    try:
        wav = torch.cat(list(_stream(model, path, target, overlap)), dim=1)
    except AudioFileError as error:
        raise ValueError(f"{path} cannot be converted: {error}") from error
    rate = model.transform.sample_rate
    return Converted(model.label_names[target], rate, wav.shape[1] / rate, wav)


def _stream(model: Any, path: Path, target: int, overlap: float) -> Iterator[Tensor]:
    """Yield the converted sound of a file part by part, float32 [C, T] on the CPU.

    Raises:
        AudioFileError: Where it cannot be read.
    """
    transform, num_samples = model.transform, 0
    seconds = audio_info(path).seconds
    total = round(seconds * transform.sample_rate)
    with (
        torch.no_grad(),
        tqdm(total=round(seconds), desc=printable(path.name), unit="s of sound", leave=False, disable=None) as bar,
    ):
        for wav in waveform_blocks(transform, _converted(model, path, target, overlap)):
            bar.update(round(min(num_samples + wav.shape[2], total) / transform.sample_rate) - bar.n)
            num_samples += wav.shape[2]
            yield wav[0].cpu()
    if not num_samples:
        raise AudioFileError(f"too short (no sample is left of it at {transform.sample_rate} Hz)")


def _converted(model: Any, path: Path, target: int, overlap: float) -> Iterator[Tensor]:
    """Yield blocks of the converted spectrogram, float32 [1, C, F, L].

    Raises:
        ValueError: Where a model makes NaN.
    """
    transform, step, length = model.transform, model.hop_frames(overlap), model.segment[2]
    # Blocks and their context are whole steps of the grid of segments: so the segments are those of the whole sound.
    num_frames, context = (step * -(-frames // step) for frames in (BLOCK_FRAMES, length))
    wavs = (wav.to(model.device) for wav in stream_audio(path, transform.sample_rate, transform.shape[0]))
    aim = torch.tensor([target])
    for spec, before, num in spectrogram_blocks(transform, wavs, num_frames, context):
        made = model.convert(spec, aim, overlap)[..., before : before + num]
        if not made.isfinite().all():
            raise ValueError("the model makes NaN of this sound: its training went wrong, take an earlier checkpoint")
        yield made
