"""A folder of sounds to evaluate: the class of each file, and which files can be used."""

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from audiogen.audio.io import AudioFileError
from audiogen.data.datasets.folder import find_sounds
from audiogen.data.pipeline import Pipeline, clip_waveform

SHOWN = 5  # sounds left out that a note names
_GENERATED = re.compile(r"(?P<label>.+)-\d+")  # seven-000.wav, as `generate` names its files


def _files_of_classes(folder: Path, label_names: Sequence[str]) -> list[list[Path]]:
    """Return the sounds of each class, by their sub-folder or the start of their name.

    Raises:
        ValueError: If a file belongs to no class.
    """
    if not label_names:
        return [find_sounds(folder)]
    files: dict[str, list[Path]] = {name: [] for name in label_names}
    for path in find_sounds(folder):
        inside = path.relative_to(folder)
        named = _GENERATED.fullmatch(path.stem)
        label = inside.parts[0] if len(inside.parts) > 1 else named["label"] if named else path.stem
        if label not in files:
            raise ValueError(
                f"{path} belongs to no class of the data ({', '.join(label_names)}): name it CLASS-000.wav"
            )
        files[label].append(path)
    return list(files.values())


def usable_files(
    folder: Path, label_names: Sequence[str], pipeline: Pipeline, most: int, real: Tensor
) -> tuple[list[list[Path]], list[str]]:
    """Return the usable sounds of each class, and notes on those that were left out.

    Args:
        folder: The folder.
        label_names: Class names.
        pipeline: How files become clips.
        most: Maximum number of sounds per class.
        real: Labels of the real clips, int64 [N].

    Raises:
        ValueError: If a class with real clips has fewer than two sounds.
    """
    found: list[list[Path]] = []
    left_out: list[str] = []
    for paths in _files_of_classes(folder, label_names):
        usable: list[Path] = []
        for path in paths:
            if len(usable) == most:
                break
            try:
                clip_waveform(path, pipeline)
                usable.append(path)
            except AudioFileError as error:
                left_out.append(f"{path}: {error}")
        found.append(usable)
    notes = (
        [f"{len(left_out)} sounds left out", *left_out[:SHOWN], *["..."][: len(left_out) - SHOWN]] if left_out else []
    )
    for label, usable in enumerate(found):
        if len(usable) < 2 and (real == label).any():
            name = f" of {label_names[label]}" if label_names else ""
            reasons = "".join(f"\n  {note}" for note in notes)
            raise ValueError(f"{folder} has {len(usable)} usable sounds{name}, but two or more are needed{reasons}")
    return found, notes


def scarcest(files: Sequence[Sequence[Path]], label_names: Sequence[str]) -> str:
    """Return a sentence on the class with the fewest sounds, which limits the others."""
    if len(files) < 2:
        return ""
    num, name = min(zip(map(len, files), label_names, strict=True))
    return f". The smallest class of the folder is {name}, with {num} sounds. It limits the others"


def proportional_counts(files: Sequence[Sequence[Path]], label: Tensor) -> list[int]:
    """Return, for each class, the total number of clips that it allows at the real classes' proportions, int64 [N]."""
    counts = label.bincount(minlength=len(files)).tolist()
    return [len(paths) * len(label) // num for paths, num in zip(files, counts, strict=False) if num]
