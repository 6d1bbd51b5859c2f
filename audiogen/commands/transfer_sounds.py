"""What the commands stylize and texture share: sound file -> spectrogram -> optimisation -> sound file.

A long sound is made in chunks. Each chunk starts with the last frames of the previous one, which stay fixed while the
rest is optimised, and its phases continue from there. So there are no seams, and memory does not grow with the sound.

Features depend on level. Sounds are therefore brought to a common level before, and the result to the level of its
source after, so that options have the same effect on quiet and loud sounds.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from audiogen.atomic import write_text
from audiogen.audio.formats import AUDIO_SUFFIXES
from audiogen.audio.io import (
    AudioFileError,
    audio_info,
    audio_writer,
    read_parts,
    require_sound,
)
from audiogen.models.style_transfer import StyleTransfer
from audiogen.outputs import OutputError, check_output_file
from audiogen.pictures import save_figure
from audiogen.transforms.streaming import waveform_blocks
from audiogen.untrusted import MAX_TEXT, read_inside

CHUNK_SECONDS = 10.0
REFERENCE_SECONDS = 30.0  # of a style that are used
PICTURE_SECONDS = 20.0
WORKING_LEVEL = 0.1  # root mean square of the sounding parts: -20 dB relative to full scale
SHOWN_EVERY = 0.2  # seconds between metrics on the progress bar


@dataclass(frozen=True)
class Made:
    """Result of `stylize` or `texture`.

    Attributes:
        sample_rate: Sample rate in Hz.
        seconds: Duration.
        names: Names of the variants; a single variant has an empty name.
        losses: Final losses of each variant by name, means over the chunks.
        wavs: Sound of each variant, float32 [C, T], if no file was written.
        files: Files that were written.
        notes: Notes for the user.
    """

    sample_rate: int
    seconds: float
    names: list[str]
    losses: list[dict[str, float]]
    wavs: list[Tensor] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def wav(self) -> Tensor:
        """The first variant's sound, float32 [C, T]."""
        return self.wavs[0]

    def __str__(self) -> str:
        """Return the duration, the final losses and the files."""
        lines = [*self.notes, f"Made {self.seconds:.1f} s of sound at {self.sample_rate} Hz"]
        for name, losses in zip(self.names, self.losses, strict=True):
            scores = ", ".join(f"{key} {value:.3g}" for key, value in losses.items() if key != "total")
            lines.append(f"  {name + ': ' if name else ''}{scores}")
        return "\n".join([*lines, *(f"  {path}" for path in self.files)])


class Synthesis:
    """A sound that is made chunk by chunk.

    Args:
        model: The model that optimises.
        styles: References, spec float32 [C, F, L] each.
        style_weights: Weights of the references; equal by default.
    """

    def __init__(
        self, model: StyleTransfer, styles: Sequence[Tensor], style_weights: Sequence[float] | None = None
    ) -> None:
        self.model, self.styles, self.style_weights = model, styles, style_weights
        self.losses: list[list[dict[str, float]]] = []  # for each chunk, then variant
        self.content: Tensor | None = None  # its first seconds, float32 [C, F, L], for a picture
        self.spec: Tensor | None = None  # first seconds of the variants, float32 [V, C, F, L]
        self.failure = ""

    @property
    def overlap(self) -> int:
        """Frames that a chunk shares with the previous one: the receptive field of the network."""
        return min_frames(self.model)

    @property
    def chunk(self) -> int:
        """Frames of a chunk, without the shared ones."""
        return max(seconds_to_frames(CHUNK_SECONDS, self.model), self.overlap)

    def mean_losses(self) -> list[dict[str, float]]:
        """Return the final losses of each variant by name, means over the chunks."""
        chunks = self.losses
        return [
            {name: sum(chunk[variant][name] for chunk in chunks) / len(chunks) for name in chunks[0][variant]}
            for variant in range(len(chunks[0]))
        ]

    def results(self, name: str) -> dict[str, Tensor]:
        """Return the first seconds of each variant, float32 [C, F, L], by name; a single variant is called `name`."""
        assert self.spec is not None
        return {variant or name: spec for variant, spec in zip(self.model.variant_names(), self.spec, strict=True)}

    def chunks(self, contents: Iterator[Tensor | int], bar: Any) -> Iterator[Tensor]:
        """Optimise one chunk after another.

        Args:
            contents: For each chunk its content, spec [1, C, F, L], or its number of frames L. From the second chunk
                on, the first `overlap` frames repeat the end of the previous chunk.
            bar: Progress bar, updated with each evaluation.

        Yields:
            Blocks of the V variants, float32 [V, C, F, L]. If a loss is not finite, the last good block is the final
            one, and `failure` contains the reason.
        """
        prefix: Tensor | None = None
        for index, content in enumerate(contents):
            wanted, frames = (content, None) if isinstance(content, Tensor) else (None, content)
            transfer = self.model.begin(wanted, [self.styles], self.style_weights, frames, prefix, first_seed=index)
            try:
                self._run(transfer, bar)
            except FloatingPointError as error:
                if transfer.iteration == 1:
                    raise
                self.failure = f"{error}; the result is the last good one"
            spec = transfer.spec
            if transfer.losses is not None:
                values = torch.stack([part.cpu() for part in transfer.losses], dim=1).tolist()
                self.losses.append([dict(zip(transfer.losses._fields, row, strict=True)) for row in values])
            start = 0 if prefix is None else prefix.shape[3]
            prefix = spec[..., -self.overlap :]
            self.spec = self._beginning(self.spec, spec[..., start:])
            if wanted is not None:
                self.content = self._beginning(self.content, wanted[0, ..., start:])
            yield spec[..., start:]
            if self.failure:
                return

    def _run(self, transfer: Any, bar: Any) -> None:
        shown = 0.0
        for _ in range(self.model.iterations):
            if transfer.done:
                break
            losses = transfer.step()
            bar.update()
            if time.monotonic() - shown > SHOWN_EVERY:
                shown = time.monotonic()
                scores = {key: getattr(losses, key).mean().item() for key in ("content", "style")}
                bar.set_postfix({key: f"{value:.3g}" for key, value in scores.items() if value}, refresh=False)

    def _beginning(self, spec: Tensor | None, more: Tensor) -> Tensor:
        """Append frames to spec [..., L], up to the length of a picture."""
        most = seconds_to_frames(PICTURE_SECONDS, self.model)
        return (more if spec is None else torch.cat([spec, more], dim=-1))[..., :most]


def seconds_to_frames(seconds: float, model: StyleTransfer) -> int:
    """Return the number of frames in a duration, rounded up."""
    return -(-round(seconds * model.transform.sample_rate) // model.transform.hop_length)


def repeated(spec: Tensor, num_frames: int) -> Tensor:
    """Return spec [C, F, L] with `num_frames` frames, repeating it as needed."""
    return spec.repeat(1, 1, -(-num_frames // spec.shape[2]))[..., :num_frames]


def min_frames(model: StyleTransfer) -> int:
    """Return the receptive field of a model's network in frames."""
    looks = model.keeps_content and model.content_extractor is None
    layers = [*model.style_layers, *([model.content_layer] if looks else [])]
    network: Any = model.extractor
    return 1 if network.fixed_length else max(network.min_length(layer) for layer in layers)


def read_reference(path: str | Path, model: StyleTransfer, notes: list[str]) -> Tensor:
    """Return the waveform of a reference, float32 [C, T] at the model's sample rate.

    Raises:
        ValueError: If the file cannot be read, is silent, or is too short for the network.
    """
    transform = model.transform
    try:
        seconds = note_format(path, model, notes)
        if seconds > REFERENCE_SECONDS:
            notes.append(f"{path}: only the first {REFERENCE_SECONDS:g} of {seconds:.1f} s are used")
        (wav,) = read_parts(path, transform.sample_rate, transform.shape[0], [(0.0, REFERENCE_SECONDS)])
        wav = require_sound(wav)
    except AudioFileError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    check_length(path, -(-wav.shape[1] // transform.hop_length), model)
    return wav


def note_format(path: str | Path, model: StyleTransfer, notes: list[str]) -> float:
    """Add notes on resampling and mixing of a file, and return its duration in seconds.

    Raises:
        AudioFileError: If the file cannot be read.
    """
    info, transform = audio_info(path), model.transform
    if info.sample_rate != transform.sample_rate:
        notes.append(f"{path}: resampled from {info.sample_rate} to {transform.sample_rate} Hz")
    if info.num_channels > transform.shape[0]:
        notes.append(f"{path}: {info.num_channels} channels mixed to {transform.shape[0]}")
    return info.seconds


def check_length(path: str | Path, num_frames: float, model: StyleTransfer) -> None:
    """Refuse sounds shorter than the network's receptive field.

    Raises:
        ValueError: With the minimum duration.
    """
    least, transform = min_frames(model), model.transform
    if num_frames < least:
        seconds = [num * transform.hop_length / transform.sample_rate for num in (num_frames, least)]
        raise ValueError(
            f"{path} is too short: {seconds[0]:.2f} s, but the network needs {seconds[1]:.2f} s. Use a longer sound or "
            "a smaller kernel"
        )


def check_out(out: str | Path, inputs: Sequence[str | Path]) -> Path:
    """Return the path of a sound if it can be written.

    Raises:
        OutputError: If it is one of the inputs or cannot be written, or if its picture or table would replace another
            file.
        ValueError: If the suffix belongs to no supported format.
    """
    path = Path(out)
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        raise ValueError(f"{path} should end in one of {', '.join(sorted(AUDIO_SUFFIXES))}")
    beside = _report_files(path)
    for file in (path, *beside):
        check_output_file(file, list(map(Path, inputs)))
    for file in () if _is_report(beside[1]) else beside:
        if os.path.lexists(file):
            raise OutputError(
                f"{file} would be replaced, but this command did not write it: choose another name than {path}"
            )
    return path


def _is_report(table: Path) -> bool:
    """Return whether a file was written by `write_report`."""
    try:
        content = json.loads(read_inside(table.parent, table.name, MAX_TEXT))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"variants", "seconds", "sample_rate", "notes"} <= content.keys()


def _report_files(out: Path) -> tuple[Path, Path]:
    """Return the paths of the picture and the table beside a sound."""
    return out.with_suffix(".png"), out.with_suffix(".json")


def make(
    synthesis: Synthesis,
    contents: Iterator[Tensor | int],
    num_chunks: int | None,
    out: Path | None,
    inputs: Sequence[str | Path] = (),
    notes: Sequence[str] = (),
    level: float = WORKING_LEVEL,
) -> Made:
    """Optimise all chunks and write each when it is done.

    Args:
        synthesis: Makes the spectrograms.
        contents: See `Synthesis.chunks`.
        num_chunks: Number of chunks, for the progress bar; None if there is no end.
        out: Path of the sound. Several variants add their names to it. None keeps the sound in memory.
        inputs: Files that must not be overwritten.
        notes: Notes for the user.
        level: Level of the result (see `active_level`).

    Returns:
        The result. After Ctrl-C, a loss that is not finite or a full disk, it ends there.

    Raises:
        OSError: If the disk is full before anything was written.
        OutputError: If a variant would overwrite an input.
    """
    model, names = synthesis.model, synthesis.model.variant_names()
    files = [] if out is None else variant_files(out, names)
    for file in files:
        check_output_file(file, list(map(Path, inputs)))
    wavs: list[list[Tensor]] = [[] for _ in names]
    samples, clipped, rate = 0, 0, model.transform.sample_rate
    total = None if num_chunks is None else num_chunks * model.iterations
    with ExitStack() as stack, torch.no_grad(), tqdm(total=total, unit="it", disable=None) as bar:
        blocks = _until_interrupted(synthesis.chunks(contents, bar))
        writers: list[Callable[[Tensor], None]] = [] if files else [part.append for part in wavs]
        for wav in waveform_blocks(model.transform, blocks):
            if not writers:  # a failure before this point leaves no file
                writers = [stack.enter_context(audio_writer(file, rate, wav.shape[1])) for file in files]
            wav = wav.cpu() * (level / WORKING_LEVEL)
            try:
                for write, part in zip(writers, wav, strict=True):
                    write(part)
            except OSError as error:
                if not samples:
                    raise
                synthesis.failure = f"{error.strerror}: the result ends there"
                break
            samples += wav.shape[2]
            clipped += int((wav.abs() > 1).any(dim=1).sum())
    all_notes = [*notes, *([synthesis.failure] if synthesis.failure else [])]
    if clipped > 1e-4 * samples * len(names) and files:
        all_notes.append(f"{clipped / samples / len(names):.2%} of the samples exceeded full scale and were clipped")
    return Made(
        rate,
        samples / rate,
        names,
        synthesis.mean_losses(),
        [torch.cat(part, 1) for part in wavs if part],
        files,
        all_notes,
    )


def variant_files(out: Path, names: Sequence[str]) -> list[Path]:
    """Return the path of each variant, such as out-balance-0.5.wav for out.wav."""
    return [out.with_name(f"{out.stem}-{name.replace(' ', '-')}{out.suffix}") if name else out for name in names]


def write_report(made: Made, out: Path, figure: Any, settings: dict[str, Any]) -> None:
    """Write the picture and the table beside the sound."""
    picture, table = _report_files(out)
    save_figure(figure, picture)
    variants = [
        {"name": name, "file": str(file), "losses": losses}
        for name, file, losses in zip(made.names, made.files, made.losses, strict=True)
    ]
    content = {"variants": variants, "seconds": made.seconds, "sample_rate": made.sample_rate, "notes": made.notes}
    write_text(table, json.dumps(content | settings, indent=2))
    made.files.extend([picture, table])


def _until_interrupted(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield blocks until Ctrl-C; before the first block, Ctrl-C raises."""
    any_there = False
    while True:
        try:
            block = next(blocks, None)
        except KeyboardInterrupt:
            if not any_there:
                raise
            return
        if block is None:
            return
        any_there = True
        yield block
