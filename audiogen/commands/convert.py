"""Convert sounds with a trained model: files or whole folders, of any length, in bounded memory."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from audiogen.audio.formats import AUDIO_SUFFIXES
from audiogen.audio.io import AudioFileError, AudioWriteError, audio_info, audio_writer, stream_audio
from audiogen.capabilities import Converts, require
from audiogen.checkpoint import load
from audiogen.commands.generate import pick_device
from audiogen.data.datasets.folder import find_sounds
from audiogen.outputs import check_output_file, check_output_folder, start_output_folder
from audiogen.terminal import printable
from audiogen.transforms.streaming import spectrogram_blocks, waveform_blocks

BLOCK_FRAMES = 512  # approximately; bounds the memory, whatever the length of a file


@dataclass(frozen=True)
class Converted:
    """Result of `convert`.

    Attributes:
        target: Name of the target domain.
        sample_rate: Sample rate in Hz.
        seconds: Seconds of converted sound.
        wav: float32 [C, T], if no file was written.
        files: Files that were written.
        skipped: Files that could not be read, with the reasons.
    """

    target: str
    sample_rate: int
    seconds: float
    wav: Tensor | None = None
    files: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what was converted, where it is, and what was left out."""
        made = f"Converted {self.seconds:.1f} s of sound to {self.target}, at {self.sample_rate} Hz"
        if self.files:
            made += f": {self.files[0]}" + (
                f" ... {self.files[-1]} ({len(self.files)} files)" if self.files[1:] else ""
            )
        lines = [f"  left out: {path}: {reason}" for path, reason in self.skipped.items()]
        return "\n".join([made, *lines])


def convert(
    checkpoint: str | Path | Converts,
    source: str | Path,
    target: str | int | None = None,
    out: str | Path | None = None,
    overlap: float = 0.5,
    device: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Convert sounds of one domain to another.

    Sounds are resampled to the model's rate and mixed to its channels. The result has this rate and the length of the
    source, to within one hop. Spectrograms are converted in overlapping segments; phases are found block by block, each
    continuing the previous one.

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
        CheckpointError: If the checkpoint cannot be used.
        DatasetError: If the folder contains no sounds.
        OSError: If the disk is full. Sounds converted before that are complete.
        OutputError: If an input would be overwritten, or the folder contains an earlier result or other files.
        ValueError: If the model does not convert or lacks the target, the file cannot be read, or `out` does not fit.
    """
    path = Path(source)
    if not path.exists():
        raise ValueError(f"no sound file or folder {path}")
    inputs = [Path(checkpoint)] if isinstance(checkpoint, str | Path) else []
    paths = {} if out is None else _output_paths(path, Path(out), inputs, overwrite)
    loaded = load(checkpoint, pick_device(device)) if isinstance(checkpoint, str | Path) else checkpoint
    model = require(loaded, Converts, "convert", "convert")
    index = _target(target, model)
    model.hop_frames(overlap)  # refuses values out of range
    if out is None:
        if path.is_dir():
            raise ValueError(f"{path} is a folder: name a folder to write to (out)")
        return _convert_one(model, path, index, overlap)
    if not _is_file(path, Path(out)):
        names = [written.relative_to(out).as_posix() for written in paths.values()]
        start_output_folder(Path(out), names, [*paths, *inputs], keep=path.is_file())
    seconds, files, skipped = 0.0, [], {}
    with tqdm(total=len(paths), unit="file", disable=None if len(paths) > 1 else True) as bar:
        for sound, written in paths.items():
            try:
                seconds += _convert_file(model, sound, written, index, overlap)
                files.append(written)
            except (AudioFileError, AudioWriteError) as error:
                skipped[sound] = str(error)
            except OSError as error:
                reason = f"{error.strerror}: {len(files)} of {len(paths)} sounds were converted and written"
                raise OSError(error.errno, reason, str(written)) from error
            bar.update()
    if not files:
        sound, reason = next(iter(skipped.items()))
        raise ValueError(
            f"nothing was converted: {sound}: {reason}"
            + (f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else "")
        )
    return Converted(model.label_names[index], model.transform.sample_rate, seconds, None, files, skipped)


def _target(target: str | int | None, model: Converts) -> int:
    """Return the index of a target domain: by default the only target, or the last of two domains.

    Raises:
        ValueError: If the model lacks the target, or there is no default.
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


def _output_paths(source: Path, out: Path, inputs: Sequence[Path], overwrite: bool) -> dict[Path, Path]:
    """Return the output path of each sound, after checking that it can be written.

    Raises:
        OutputError: If an input would be overwritten, or the output cannot be written.
        ValueError: If a folder should become a file, or the suffix belongs to no supported format.
    """
    if source.is_dir():
        if out.is_file() or out.suffix.lower() in AUDIO_SUFFIXES:
            raise ValueError(f"{source} is a folder and {out} a file: name a folder to write to")
        if out.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{out} is inside the source folder {source}: name another folder")
        check_output_folder(out, overwrite)
        return {path: out / path.relative_to(source) for path in find_sounds(source)}
    if out.suffix and not out.is_dir() and out.suffix.lower() not in AUDIO_SUFFIXES:
        raise ValueError(f"{out} should end in one of {', '.join(sorted(AUDIO_SUFFIXES))}, or be a folder")
    if _is_file(source, out):
        return {source: check_output_file(out, [source, *inputs])}
    path = out / source.name
    if path.resolve() == source.resolve():
        raise ValueError(f"{path} would overwrite the source: name another folder")
    check_output_folder(out, overwrite or not os.path.lexists(path))  # another sound may join an earlier result
    return {source: path}


def _is_file(source: Path, out: Path) -> bool:
    """Return whether `out` is the file to write, not the folder for it."""
    return source.is_file() and bool(out.suffix) and not out.is_dir()


def _convert_file(model: Converts, path: Path, out: Path, target: int, overlap: float) -> float:
    """Convert a file and return its duration in seconds."""
    samples = 0
    with ExitStack() as stack:
        write: Callable[[Tensor], None] | None = None
        for wav in _stream(model, path, target, overlap):
            # Opened with the first block, so that an unreadable file leaves no output.
            write = write or stack.enter_context(audio_writer(out, model.transform.sample_rate, len(wav)))
            write(wav)
            samples += wav.shape[1]
    return samples / model.transform.sample_rate


def _convert_one(model: Converts, path: Path, target: int, overlap: float) -> Converted:
    """Convert a file to a waveform.

    Raises:
        ValueError: If the file cannot be read.
    """
    try:
        wav = torch.cat(list(_stream(model, path, target, overlap)), dim=1)
    except AudioFileError as error:
        raise ValueError(f"{path} cannot be converted: {error}") from error
    rate = model.transform.sample_rate
    return Converted(model.label_names[target], rate, wav.shape[1] / rate, wav)


def _stream(model: Converts, path: Path, target: int, overlap: float) -> Iterator[Tensor]:
    """Yield the converted sound of a file in parts, float32 [C, T] on the CPU.

    Raises:
        AudioFileError: If the file cannot be read.
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
        raise AudioFileError(f"too short (no sample is left at {transform.sample_rate} Hz)")


def _converted(model: Converts, path: Path, target: int, overlap: float) -> Iterator[Tensor]:
    """Yield blocks of the converted spectrogram, float32 [1, C, F, L].

    Raises:
        ValueError: If the model produces NaN.
    """
    transform, hop, length = model.transform, model.hop_frames(overlap), model.segment[2]
    # Blocks and their context are multiples of the hop, so the segments are those of the whole sound.
    num_frames, context = (hop * -(-frames // hop) for frames in (BLOCK_FRAMES, length))
    wavs = (wav.to(model.device) for wav in stream_audio(path, transform.sample_rate, transform.shape[0]))
    aim = torch.tensor([target])
    for spec, before, num in spectrogram_blocks(transform, wavs, num_frames, context):
        made = model.convert(spec, aim, overlap)[..., before : before + num]
        if not made.isfinite().all():
            raise ValueError(
                "the model produces NaN for this sound: its training diverged, so use an earlier checkpoint"
            )
        yield made
