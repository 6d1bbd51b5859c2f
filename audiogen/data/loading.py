"""From the files of a data set to the clips of its splits."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.data.batch import Batch
from audiogen.data.cache import cached_store
from audiogen.data.datasets.dataset import AudioItem, DatasetError, Split
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import SpectrogramStore, Store
from audiogen.data.stream import CropIndex
from audiogen.fingerprint import fingerprint

SHOWN_PER_REASON = 5


class Spectrograms(Dataset[Batch]):
    """Clips of one split, on disk.

    Args:
        store: Holds the spectrograms.
        segment: Index in the store of each clip, int64 [N].
        label: int64 [N].
        num_frames: L of a clip.
        groups: Numbers of clips that lie together and are best read so; by default they may be read in any order.
        silence: A frame of silence, int16 [C, F]: crops of nothing else are not taken; see `Store.read`.
    """

    def __init__(
        self,
        store: Store,
        segment: Tensor,
        label: Tensor,
        num_frames: int,
        groups: Sequence[int] | None = None,
        silence: np.ndarray | None = None,
    ) -> None:
        self.store, self.segment, self.label, self.num_frames = store, segment, label, num_frames
        self.silence = silence
        self.groups = groups or [len(label)]

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.label)

    def __getitems__(self, crop_indices: Sequence[CropIndex]) -> Batch:
        """Return a batch at once."""
        indices = torch.tensor([index for index, _ in crop_indices])
        crops = [crop for _, crop in crop_indices]
        spec = self.store.read(self.segment[indices].tolist(), crops, self.num_frames, self.silence)
        return Batch(spec, self.label[indices])

    def take(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the middle of some clips: spec, float32 [N, C, F, L]."""
        return self.__getitems__([(int(index), 0.5) for index in indices]).spec


@dataclass(frozen=True)
class LoadedData:
    """All splits of a data set, and what could not be used.

    Attributes:
        label_names: Class names in index order, empty without classes.
        splits: The clips of each split.
        clips: Those that are used.
        files: Index in the store of each file that is used.
        rejected: Reason and clip of each that was left out.
        store: The spectrograms, and what became of each file; None for data that were read from shards.
        notes: What the user should know of how the data were read.
    """

    label_names: list[str]
    splits: dict[Split, Spectrograms]
    clips: list[AudioItem]
    files: list[int]
    rejected: list[tuple[str, AudioItem]]
    store: SpectrogramStore | None
    notes: Sequence[str] = ()

    def left_out(self) -> str:
        """Return a line for each file that was not used: its path and the reason."""
        return "".join(f"{clip.path}: {reason}\n" for reason, clip in self.rejected)

    def fingerprint(self) -> str:
        """Return a digest of the files that are trained and evaluated on, their order, splits and classes."""
        splits: dict[str, list[Any]] = {}
        for name, clips in self.splits.items():
            store = self.store
            of_clip = clips.store.num_frames if store is None else store.digests[store.file.numpy()]
            splits[name] = [clips.label, of_clip[clips.segment.numpy()]]
        return fingerprint(self.label_names, splits)

    def num_padded(self) -> int:
        """Count the files that are used and shorter than a clip, to which silence is added; 0 for shards."""
        used = set(self.files)
        records = enumerate(self.store.records() if self.store is not None else ())
        return sum(record.padded for index, record in records if index in used)

    def summary(self) -> str:
        """Tell in words how many files were used, and name those that were not, by reason."""
        if self.store is None:
            counts = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
            return f"Data: {counts} clips in shards, {len(self.label_names) or 'no'} classes"
        return _summary(self.splits, self.clips, self.label_names, self.rejected, self.notes)


def load(
    clips: Sequence[AudioItem],
    pipeline: Pipeline,
    cache: Path,
    label_order: Sequence[str] = (),
    num_workers: int = 1,
    progress: bool = False,
    exclusive: bool = False,
    several_labels: bool = False,
) -> LoadedData:
    """Find the spectrograms of all clips, leaving out files that cannot be used.

    Args:
        clips: Of all splits; either all have a label or none has.
        pipeline: How files become spectrograms.
        cache: Folder of stored spectrograms.
        label_order: Class names that come first, in this order; the others are sorted.
        num_workers: Processes that read files where the spectrograms are not stored yet.
        progress: Show a progress bar on a terminal.
        exclusive: Leave out sounds that are in two classes; otherwise the first class listed keeps them. A class may
            then be of one clip, of which there may be many crops.
        several_labels: Whether a file may be listed in several classes.

    Raises:
        DatasetError: Where nothing to train on is left: no usable file, or no class with two.
    """
    paths = sound_files(clips)
    store = cached_store(paths, pipeline_for(clips, pipeline), cache, num_workers, progress)
    number = {path: index for index, path in enumerate(paths)}
    of_file: list[list[int]] = [[] for _ in paths]
    for segment, file in enumerate(store.file.tolist()):
        of_file[file].append(segment)
    segments = {clip: _segments_in(clip.span, of_file[number[clip.path]]) for clip in clips}
    rule = _Identity(exclusive, several_labels)
    used, rejected = _usable(clips, number, store, rule)
    used, label_names = _classes(used, rejected, label_order, segments, least=1 if exclusive else 2)
    if not used:
        reason = _summary({}, [], [], rejected)
        raise DatasetError(f"nothing to train on: no class has two usable clips to train on\n{reason}")
    index = {name: i for i, name in enumerate(label_names)}
    silence = pipeline.silence()
    splits: dict[Split, Spectrograms] = {}
    for name in sorted({clip.split for clip in used if segments[clip]}, key=["train", "val", "test"].index):
        of_split = [clip for clip in used if clip.split == name]
        rows = [(segment, index.get(clip.label or "", 0)) for clip in of_split for segment in segments[clip]]
        segment, label = torch.tensor(rows).T.contiguous()
        splits[name] = Spectrograms(store, segment, label, pipeline.transform.shape[2], silence=silence)
    files = sorted({number[clip.path] for clip in used})
    return LoadedData(label_names, splits, used, files, rejected, store)


def pipeline_for(clips: Sequence[AudioItem], pipeline: Pipeline) -> Pipeline:
    """Return how the files of some clips become spectrograms: recordings are cut."""
    return replace(pipeline, cut=True) if any(clip.span is not None for clip in clips) else pipeline


def sound_files(clips: Sequence[AudioItem]) -> list[Path]:
    """Return the files of all clips in the order of a store's, each once."""
    return list(dict.fromkeys(clip.path for clip in clips))


def _segments_in(span: tuple[float, float] | None, segments: Sequence[int]) -> list[int]:
    """Return the segments of a file that lie in a span of it."""
    start, end = span or (0.0, 1.0)
    return list(segments[round(start * len(segments)) : round(end * len(segments))])


def _usable(
    clips: Sequence[AudioItem], number: Mapping[Path, int], store: SpectrogramStore, rule: "_Identity"
) -> tuple[list[AudioItem], list[tuple[str, AudioItem]]]:
    """Part the clips into those with sound and those without, each with the reason."""
    reasons = [store.reasons.get(number[clip.path], "") for clip in clips]
    broken = {clip.pair for clip, reason in zip(clips, reasons, strict=True) if reason and clip.pair is not None}
    used: list[AudioItem] = []
    rejected: list[tuple[str, AudioItem]] = []
    alike: dict[bytes, list[AudioItem]] = defaultdict(list)  # all clips of a sound, in the order of the list
    for clip, reason in zip(clips, reasons, strict=True):
        if clip.pair is None and not reason:
            alike[store.sounds[number[clip.path]]].append(clip)
    for clip, reason in zip(clips, reasons, strict=True):
        if not reason and clip.pair in broken:
            reason = "the other sound of its pair cannot be used"
        if not reason and clip.pair is None:
            reason = rule.conflict(clip, alike[store.sounds[number[clip.path]]])
        if reason:
            rejected.append((reason, clip))
        else:
            used.append(clip)
    return used, rejected


@dataclass(frozen=True)
class _Identity:
    """What becomes of a sound that is listed several times; see `load`."""

    exclusive: bool
    several_labels: bool

    def conflict(self, clip: AudioItem, alike: Sequence[AudioItem]) -> str:
        """Return why a clip is left out, given all clips of the same sound in the order of the list; "" if it is not.

        The first one stays, with its further classes where there may be several, and all stretches of its recording.
        """
        first = alike[0]
        other = next((found for found in alike if found.label != clip.label), None)
        if self.exclusive and other is not None:
            return f"in two classes (the same sound as {other.path} of {other.label})"
        if clip is first:
            return ""
        labels = {found.label for found in alike if found.path == first.path} if self.several_labels else {first.label}
        if clip.label not in labels:
            return f"in two classes (the same sound as {first.path} of {first.label})"
        if clip.path != first.path:
            return f"duplicate (the same sound as {first.path})"
        twin = next(found for found in alike if (found.path, found.label) == (clip.path, clip.label))
        if (clip is twin and clip.split == first.split) or clip.span != first.span:
            return ""
        return f"listed twice (as {first.split} and {clip.split})"


def _classes(
    used: list[AudioItem],
    rejected: list[tuple[str, AudioItem]],
    label_order: Sequence[str],
    segments: Mapping[AudioItem, Sequence[int]],
    least: int,
) -> tuple[list[AudioItem], list[str]]:
    """Return the clips to keep and the class names, rejecting clips of classes that cannot be learned."""
    train = [clip for clip in used if clip.split == "train"]
    counts = {
        label: sum(len(segments[clip]) for clip in train if clip.label == label) for label in {c.label for c in train}
    }
    # Pairs, and data that are only to be tested on, need nothing to train on.
    learnable = [not counts or clip.pair is not None or counts.get(clip.label, 0) >= least for clip in used]
    keep = [clip for clip, good in zip(used, learnable, strict=True) if good]
    reason = f"its class has less than {['one clip', 'two clips'][least - 1]} to train on"
    rejected += [(reason, clip) for clip, good in zip(used, learnable, strict=True) if not good]
    names = {clip.label for clip in keep if clip.label is not None}
    known = [name for name in label_order if name in names]
    return keep, known + sorted(names.difference(known), key=_natural)


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort 2 before 10, and numbers before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _summary(
    splits: dict[Split, Spectrograms],
    used: Sequence[AudioItem],
    label_names: Sequence[str],
    rejected: Sequence[tuple[str, AudioItem]],
    notes: Sequence[str] = (),
) -> str:
    counts = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    classes = f"{len(label_names)} classes" if label_names else "no classes"
    num = len(used) - sum(clip.span is not None and clip.split == "val" for clip in used)  # one file, two clips
    lines = [f"Data: {num} of {num + len(rejected)} files used ({counts}), {classes}", *(f"  {note}" for note in notes)]
    reasons = Counter(reason.split(" (")[0] for reason, _ in rejected)
    for reason, count in reasons.most_common():
        lines.append(f"  {count} left out: {reason}")
        files = [f"{clip.path}: {text}" for text, clip in rejected if text.split(" (")[0] == reason]
        lines += [f"    {file}" for file in files[:SHOWN_PER_REASON]]
        if count > SHOWN_PER_REASON:
            lines.append(f"    ... and {count - SHOWN_PER_REASON} more")
    return "\n".join(lines)
