"""Load the clips of each split of a data set from the stored spectrograms of its files."""

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

SHOWN_PER_REASON = 5  # files


class Spectrograms(Dataset[Batch]):
    """Clips of one split, stored on disk.

    Args:
        store: Store of the spectrograms.
        segment: Segment of each clip in the store, int64 [N].
        label: Class index of each clip, int64 [N].
        num_frames: Length of a clip, L.
        groups: Sizes of consecutive groups of clips that are fastest to read together, such as shards. By default all
            clips are one group, which can be read in any order.
        silence: A frame of silence, int16 [C, F]. Crops that contain only silence are avoided; see `Store.read`.
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
        """Read a batch of crops."""
        indices = torch.tensor([index for index, _ in crop_indices])
        crops = [crop for _, crop in crop_indices]
        spec = self.store.read(self.segment[indices].tolist(), crops, self.num_frames, self.silence)
        return Batch(spec, self.label[indices])

    def take(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Read the middle of some clips: spec, float32 [N, C, F, L]."""
        return self.__getitems__([(int(index), 0.5) for index in indices]).spec


@dataclass(frozen=True)
class LoadedData:
    """All splits of a data set, and the sounds that were left out.

    Attributes:
        label_names: Class names in index order; empty without classes.
        splits: Clips of each split.
        items: Sounds that are used.
        files: Index in the store of each file that is used.
        rejected: Reason and item of each sound that was left out.
        store: Spectrograms, and what became of each file; None for data read from shards.
        notes: Messages for the user about how the data were read.
    """

    label_names: list[str]
    splits: dict[Split, Spectrograms]
    items: list[AudioItem]
    files: list[int]
    rejected: list[tuple[str, AudioItem]]
    store: SpectrogramStore | None
    notes: Sequence[str] = ()

    def left_out(self) -> str:
        """Return one line per file that is not used: its path and the reason."""
        return "".join(f"{item.path}: {reason}\n" for reason, item in self.rejected)

    def fingerprint(self) -> str:
        """Return a digest of the files used for training and evaluation, their order, splits and classes."""
        splits: dict[str, list[Any]] = {}
        for name, clips in self.splits.items():
            store = self.store
            of_clip = clips.store.num_frames if store is None else store.digests[store.file.numpy()]
            splits[name] = [clips.label, of_clip[clips.segment.numpy()]]
        return fingerprint(self.label_names, splits)

    def num_padded(self) -> int:
        """Return the number of used files that are shorter than a clip and padded with silence; 0 for shards."""
        used = set(self.files)
        records = enumerate(self.store.records() if self.store is not None else ())
        return sum(record.padded for index, record in records if index in used)

    def summary(self) -> str:
        """Return a text with the number of files that are used, and the others by reason."""
        if self.store is None:
            counts = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
            return f"Data: {counts} clips in shards, {len(self.label_names) or 'no'} classes"
        return _summary(self.splits, self.items, self.label_names, self.rejected, self.notes)


def load(
    items: Sequence[AudioItem],
    pipeline: Pipeline,
    cache: Path,
    label_order: Sequence[str] = (),
    num_workers: int = 1,
    progress: bool = False,
    exclusive: bool = False,
    several_labels: bool = False,
) -> LoadedData:
    """Find the spectrograms of all sounds, leaving out files that cannot be used.

    Args:
        items: Sounds of all splits. Either all of them have a label or none has.
        pipeline: How files become spectrograms.
        cache: Folder of stored spectrograms.
        label_order: Class names that come first, in this order; the others are sorted.
        num_workers: Number of processes that compute missing spectrograms.
        progress: Show a progress bar on a terminal.
        exclusive: Leave out sounds that are in two classes. Otherwise the class listed first keeps them. If true, one
            clip per class is enough, since it may give many crops.
        several_labels: Whether a file may be listed in several classes.

    Raises:
        DatasetError: If nothing is left to train on: no usable file, or no class with two of them.
    """
    paths = sound_files(items)
    store = cached_store(paths, pipeline_for(items, pipeline), cache, num_workers, progress)
    index_of = {path: index for index, path in enumerate(paths)}
    of_file: list[list[int]] = [[] for _ in paths]
    for segment, file in enumerate(store.file.tolist()):
        of_file[file].append(segment)
    segments = {item: _segments_in(item.span, of_file[index_of[item.path]]) for item in items}
    rule = _DuplicateRule(exclusive, several_labels)
    used, rejected = _usable(items, index_of, store, rule)
    used, label_names = _classes(used, rejected, label_order, segments, least=1 if exclusive else 2)
    if not used:
        reason = _summary({}, [], [], rejected)
        raise DatasetError(f"nothing to train on: no class has two usable clips to train on\n{reason}")
    index = {name: i for i, name in enumerate(label_names)}
    silence = pipeline.silence()
    splits: dict[Split, Spectrograms] = {}
    for name in sorted({item.split for item in used if segments[item]}, key=["train", "val", "test"].index):
        of_split = [item for item in used if item.split == name]
        rows = [(segment, index.get(item.label or "", 0)) for item in of_split for segment in segments[item]]
        segment, label = torch.tensor(rows).T.contiguous()
        splits[name] = Spectrograms(store, segment, label, pipeline.transform.shape[2], silence=silence)
    files = sorted({index_of[item.path] for item in used})
    return LoadedData(label_names, splits, used, files, rejected, store)


def pipeline_for(items: Sequence[AudioItem], pipeline: Pipeline) -> Pipeline:
    """Return the pipeline for some items, which cuts the files if they are recordings."""
    return replace(pipeline, cut=True) if any(item.span is not None for item in items) else pipeline


def sound_files(items: Sequence[AudioItem]) -> list[Path]:
    """Return the files of all items in the order of the store, each once."""
    return list(dict.fromkeys(item.path for item in items))


def _segments_in(span: tuple[float, float] | None, segments: Sequence[int]) -> list[int]:
    """Return the segments of a file that are in a span of it."""
    start, end = span or (0.0, 1.0)
    return list(segments[round(start * len(segments)) : round(end * len(segments))])


def _usable(
    items: Sequence[AudioItem], index_of: Mapping[Path, int], store: SpectrogramStore, rule: "_DuplicateRule"
) -> tuple[list[AudioItem], list[tuple[str, AudioItem]]]:
    """Divide the items into those that are used and those that are not, each with the reason."""
    reasons = [store.reasons.get(index_of[item.path], "") for item in items]
    broken = {item.pair for item, reason in zip(items, reasons, strict=True) if reason and item.pair is not None}
    used: list[AudioItem] = []
    rejected: list[tuple[str, AudioItem]] = []
    same_sound: dict[bytes, list[AudioItem]] = defaultdict(list)  # all items with the same sound, in listed order
    for item, reason in zip(items, reasons, strict=True):
        if item.pair is None and not reason:
            same_sound[store.sounds[index_of[item.path]]].append(item)
    for item, reason in zip(items, reasons, strict=True):
        if not reason and item.pair in broken:
            reason = "the other sound of its pair cannot be used"
        if not reason and item.pair is None:
            reason = rule.rejection(item, same_sound[store.sounds[index_of[item.path]]])
        if reason:
            rejected.append((reason, item))
        else:
            used.append(item)
    return used, rejected


@dataclass(frozen=True)
class _DuplicateRule:
    """Rule for a sound that is listed several times; see `load` for the attributes."""

    exclusive: bool
    several_labels: bool

    def rejection(self, item: AudioItem, same_sound: Sequence[AudioItem]) -> str:
        """Return why an item is left out, or "" if it is used.

        The first item with a sound is used, together with its further classes if several are allowed, and with all
        spans of its recording.

        Args:
            item: Item to decide on.
            same_sound: All items with the same sound, in listed order.
        """
        first = same_sound[0]
        other = next((found for found in same_sound if found.label != item.label), None)
        if self.exclusive and other is not None:
            return f"in two classes (the same sound as {other.path} of {other.label})"
        if item is first:
            return ""
        labels = (
            {found.label for found in same_sound if found.path == first.path} if self.several_labels else {first.label}
        )
        if item.label not in labels:
            return f"in two classes (the same sound as {first.path} of {first.label})"
        if item.path != first.path:
            return f"duplicate (the same sound as {first.path})"
        repeated = next(found for found in same_sound if (found.path, found.label) == (item.path, item.label))
        if (item is repeated and item.split == first.split) or item.span != first.span:
            return ""
        return f"listed twice (as {first.split} and {item.split})"


def _classes(
    used: list[AudioItem],
    rejected: list[tuple[str, AudioItem]],
    label_order: Sequence[str],
    segments: Mapping[AudioItem, Sequence[int]],
    least: int,
) -> tuple[list[AudioItem], list[str]]:
    """Return the items to keep and the class names; reject items of classes with fewer than `least` clips."""
    train = [item for item in used if item.split == "train"]
    counts = {
        label: sum(len(segments[item]) for item in train if item.label == label) for label in {c.label for c in train}
    }
    # Pairs, and data with only a test split, need no training clips.
    learnable = [not counts or item.pair is not None or counts.get(item.label, 0) >= least for item in used]
    keep = [item for item, good in zip(used, learnable, strict=True) if good]
    reason = f"its class has fewer than {['one clip', 'two clips'][least - 1]} to train on"
    rejected += [(reason, item) for item, good in zip(used, learnable, strict=True) if not good]
    names = {item.label for item in keep if item.label is not None}
    known = [name for name in label_order if name in names]
    return keep, known + sorted(names.difference(known), key=_natural)


def _natural(name: str) -> tuple[bool, int, str]:
    """Return a sort key that puts 2 before 10, and numbers before words."""
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
    num = len(used) - sum(item.span is not None and item.split == "val" for item in used)  # one file is two items
    lines = [f"Data: {num} of {num + len(rejected)} files used ({counts}), {classes}", *(f"  {note}" for note in notes)]
    reasons = Counter(reason.split(" (")[0] for reason, _ in rejected)
    for reason, count in reasons.most_common():
        lines.append(f"  {count} left out: {reason}")
        files = [f"{item.path}: {text}" for text, item in rejected if text.split(" (")[0] == reason]
        lines += [f"    {file}" for file in files[:SHOWN_PER_REASON]]
        if count > SHOWN_PER_REASON:
            lines.append(f"    ... and {count - SHOWN_PER_REASON} more")
    return "\n".join(lines)
