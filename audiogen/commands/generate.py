"""Make new sounds with a trained generator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio.io import write_audio
from audiogen.capabilities import Samples, require
from audiogen.checkpoint import load
from audiogen.outputs import check_output_folder, start_output_folder
from audiogen.pictures import save_figure, spectrogram_grid


@dataclass(frozen=True)
class Generated:
    """Result of `generate`.

    Attributes:
        wav: Sounds, float32 [N, C, T] with full scale [-1, 1], class by class.
        spec: Spectrograms, float32 [N, C, F, L] in [-1, 1].
        label: Class name of each sound; empty strings without classes.
        sample_rate: Sample rate in Hz.
        files: Files that were written: the sounds in order, then the picture.
    """

    wav: Tensor
    spec: Tensor
    label: list[str]
    sample_rate: int
    files: list[Path]

    def __str__(self) -> str:
        """Return what was generated and where it is."""
        seconds = self.wav.shape[-1] / self.sample_rate
        made = f"Made {len(self.wav)} sounds of {seconds:.2f} s at {self.sample_rate} Hz"
        return f"{made}: {self.files[0]} ... and the picture {self.files[-1]}" if self.files else made


def generate(
    checkpoint: str | Path | Samples,
    label: str | int | Sequence[str | int] = "all",
    num: int = 1,
    seed: int = 0,
    truncation: float = 1.0,
    out: str | Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> Generated:
    """Generate sounds of chosen classes.

    Sound i of a class depends only on the class, the seed, i and the truncation, not on the other sounds requested.

    Args:
        checkpoint: Checkpoint, run directory (its newest checkpoint) or a loaded model.
        label: Class names or indices, separated by commas, or "all". Leave it out for a model without classes.
        num: Sounds per class.
        seed: Seed of the latents. The same seed gives the same sounds.
        truncation: 1 gives the full variety; towards 0, sounds approach the mean over all styles.
        out: New or empty folder for `seven-000.wav`, ... and `grid.png`. From Python, None writes nothing.
        device: Device, such as cuda. By default a GPU if there is one.
        overwrite: Replace an earlier result in the folder. Other files are never removed.

    Returns:
        The sounds.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
        OutputError: If the folder contains an earlier result or other files, or cannot be written.
        OSError: If the disk is full. Sounds written before that are complete.
        ValueError: If the model lacks a class, `num` is below 1, `truncation` is not finite, or the model produces NaN.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    if not math.isfinite(truncation):
        raise ValueError(f"truncation must be a number, got {truncation}")
    folder = None if out is None else check_output_folder(Path(out), overwrite)
    loaded = load(checkpoint, pick_device(device)) if isinstance(checkpoint, str | Path) else checkpoint
    model = require(loaded, Samples, "sample", "generate")
    chosen = _choose(label, model.label_names)
    seeds = model.clip_seeds(seed, num)
    spec = model.sample(torch.tensor(chosen).repeat_interleave(num), seeds * len(chosen), truncation).clamp(-1, 1)
    with torch.no_grad():
        wav = torch.cat([model.transform.inverse(part) for part in spec.split(64)]).cpu()
    if not wav.isfinite().all():
        raise ValueError(
            "the model produces NaN or infinite samples: its training diverged, so use an earlier checkpoint"
        )
    names = [model.label_names[i] if model.label_names else "" for i in chosen]
    inputs = [Path(checkpoint)] if isinstance(checkpoint, str | Path) else []
    files = _write(folder, wav, spec, names, model.transform, inputs) if folder is not None else []
    label_of_each = [name for name in names for _ in range(num)]
    return Generated(wav, spec.cpu(), label_of_each, model.transform.sample_rate, files)


def pick_device(name: str | None) -> torch.device:
    """Return the named device, or by default a GPU if there is one.

    Raises:
        ValueError: If the device is not available.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error


def _choose(label: str | int | Sequence[str | int], names: list[str]) -> list[int]:
    """Return class indices for class names or numbers; [0] without classes."""
    if not names:
        if label != "all":
            raise ValueError(f"this model has no classes: leave out the label {label!r}")
        return [0]
    if label == "all":
        return list(range(len(names)))
    if isinstance(label, str) and label not in names:
        label = [item.strip() for item in label.split(",")]
    chosen = [_index(item, names) for item in ([label] if isinstance(label, str | int) else label)]
    if not chosen:
        raise ValueError("no class named")
    return list(dict.fromkeys(chosen))


def _index(item: str | int, names: list[str]) -> int:
    """Return the index of a class name or number. A name that looks like a number takes precedence."""
    if str(item) in names:
        return names.index(str(item))
    if str(item).isdecimal() and int(item) < len(names):
        return int(item)
    raise ValueError(f"no class {item!r}: this model knows {', '.join(names)} (or 0 ... {len(names) - 1})")


def _write(
    folder: Path, wav: Tensor, spec: Tensor, names: list[str], transform: Any, inputs: Sequence[Path]
) -> list[Path]:
    """Write N sounds, in equal numbers for each name, and their picture; return the paths.

    Raises:
        OSError: If the disk is full, saying how many sounds are there.
    """
    num = len(wav) // len(names)
    stems = ["-".join(part for part in (names[i // num], f"{i % num:03d}") if part) for i in range(len(wav))]
    files = [*(f"{stem}.wav" for stem in stems), "grid.png"]
    start_output_folder(folder, files, inputs)
    for index, (file, sound) in enumerate(zip(files, wav, strict=False)):
        try:
            write_audio(folder / file, sound, transform.sample_rate)
        except OSError as error:
            reason = f"{error.strerror}: {index} of {len(wav)} sounds are written"
            raise OSError(error.errno, reason, str(folder)) from error
    figure = spectrogram_grid(spec.unflatten(0, (-1, num))[:, :12], [name for name in names if name], transform)
    save_figure(figure, folder / files[-1])
    return [folder / file for file in files]
