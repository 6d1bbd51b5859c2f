"""From the files of a data set to spectrograms in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from audiogen.audio.io import AudioFileError, read_audio
from audiogen.audio.length import fit_length
from audiogen.data.batch import Batch
from audiogen.data.dataset import Clip, DatasetError, Split
from audiogen.transforms.transform import SpectrogramTransform

TRANSFORM_BATCH = 64
SHOWN_PER_REASON = 5


class Spectrograms(Dataset[Batch]):
    """Clips of one split, in memory.

    Args:
        spec: float32 [N, C, F, L].
        label: int64 [N].
    """

    def __init__(self, spec: Tensor, label: Tensor) -> None:
        self.spec, self.label = spec, label

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.label)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a batch at once."""
        return Batch(self.spec[indices], self.label[indices])


@dataclass(frozen=True)
class LoadedData:
    """All splits of a data set, and what could not be used.

    Attributes:
        label_names: Class names in index order, empty without classes.
        splits: The clips of each split.
        rejected: Reason and clip of each file that was left out.
    """

    label_names: list[str]
    splits: dict[Split, Spectrograms]
    rejected: list[tuple[str, Clip]]

    def left_out(self) -> str:
        """Return a line for each file that was not used: its path and the reason."""
        return "".join(f"{clip.path}: {reason}\n" for reason, clip in self.rejected)

    def summary(self) -> str:
        """Tell in words how many files were used, and name those that were not, by reason."""
        counts = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
        used = sum(len(split) for split in self.splits.values())
        classes = f"{len(self.label_names)} classes" if self.label_names else "no classes"
        lines = [f"Data: {used} of {used + len(self.rejected)} files used ({counts}), {classes}"]
        reasons = Counter(reason.split(" (")[0] for reason, _ in self.rejected)
        for reason, count in reasons.most_common():
            lines.append(f"  {count} left out: {reason}")
            files = [f"{clip.path}: {text}" for text, clip in self.rejected if text.split(" (")[0] == reason]
            lines += [f"    {file}" for file in files[:SHOWN_PER_REASON]]
            if count > SHOWN_PER_REASON:
                lines.append(f"    ... and {count - SHOWN_PER_REASON} more")
        return "\n".join(lines)


def load(
    clips: Sequence[Clip],
    transform: SpectrogramTransform,
    min_seconds: float = 0.0,
    label_order: Sequence[str] = (),
    progress: bool = False,
) -> LoadedData:
    """Read all clips and compute their spectrograms, leaving out files that cannot be used.

    Args:
        clips: Of all splits; either all have a label or none has.
        transform: Longer clips are cropped to its length, shorter ones padded with silence.
        min_seconds: Shorter files are left out.
        label_order: Class names that come first, in this order; the others are sorted.
        progress: Show a progress bar on a terminal.

    Raises:
        DatasetError: Where nothing to train on is left: no usable file, or no class with two.
    """
    used: list[Clip] = []
    wavs: list[Tensor] = []
    specs: list[Tensor] = []
    rejected: list[tuple[str, Clip]] = []
    for clip in tqdm(clips, desc="Reading sounds", unit="file", disable=None if progress else True, leave=False):
        try:
            wav = read_audio(clip.path, transform.sample_rate, transform.shape[0], min_seconds)
        except AudioFileError as error:
            rejected.append((str(error), clip))
            continue
        used.append(clip)
        wavs.append(fit_length(wav, transform.num_samples))
        if len(wavs) == TRANSFORM_BATCH:
            specs.append(_spectrograms(wavs, transform))
            wavs = []
    if wavs:
        specs.append(_spectrograms(wavs, transform))
    keep, label_names = _classes(used, rejected, label_order)
    if not keep:
        reason = LoadedData([], {}, rejected).summary()
        raise DatasetError(f"nothing to train on: no class has two usable files to train on\n{reason}")
    spec = torch.cat(specs)[keep]
    index = {name: i for i, name in enumerate(label_names)}
    label = torch.tensor([index[used[i].label or ""] if label_names else 0 for i in keep])
    splits: dict[Split, Spectrograms] = {}
    for name in sorted({used[i].split for i in keep}, key=["train", "val", "test"].index):
        rows = torch.tensor([used[i].split == name for i in keep])
        splits[name] = Spectrograms(spec[rows], label[rows])
    return LoadedData(label_names, splits, rejected)


def _classes(
    used: list[Clip], rejected: list[tuple[str, Clip]], label_order: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Return the clips to keep and the class names, rejecting clips of classes that cannot be learned."""
    counts = Counter(clip.label for clip in used if clip.split == "train")
    keep = [i for i, clip in enumerate(used) if counts[clip.label] >= 2]
    rejected += [("its class has less than two files to train on", clip) for clip in used if counts[clip.label] < 2]
    names = {label for i in keep if (label := used[i].label) is not None}
    known = [name for name in label_order if name in names]
    return keep, known + sorted(names.difference(known), key=_natural)


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort 2 before 10, and numbers before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


@torch.no_grad()
def _spectrograms(wavs: list[Tensor], transform: SpectrogramTransform) -> Tensor:
    """Return float32 [N, C, F, L] of N waveforms [C, T]."""
    return transform(torch.stack(wavs))
