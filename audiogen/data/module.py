"""Serve data to all models with one LightningDataModule."""

import os
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from audiogen.atomic import write_text
from audiogen.audio.preprocess import PreprocessStep
from audiogen.data.batch import Batch
from audiogen.data.cache import cache_folder
from audiogen.data.datasets.dataset import AudioDataset, DatasetError, Split
from audiogen.data.loading import LoadedData, Spectrograms, load
from audiogen.data.pipeline import Crop, Pipeline
from audiogen.data.shards import load_shards
from audiogen.data.stream import BatchStream, PairStream, ResumedStream, shuffled
from audiogen.transforms.transform import SpectrogramTransform


class SpectrogramData(lightning.LightningDataModule):
    """Spectrograms of a data set: an endless stream for training, and single passes over the other splits.

    Args:
        dataset: Data set, which lists the files with their classes and splits.
        transform: The spectrogram definition.
        batch_size: Clips per training step over all processes.
        root: Folder of the data set.
        preprocess: Preprocessing steps for the sounds, in this order.
        crop: Part to use of sounds longer than a clip: "start", "center", or "random" for a new part each time. Shorter
            sounds are padded with silence at the end.
        min_seconds: Shortest file to use, in seconds.
        segment_seconds: Longest segment to read at once, in seconds. Of a longer file, "start" and "center" use one
            segment, and "random" uses each segment as a separate clip.
        cache: Folder of stored spectrograms; null for $AUDIOGEN_CACHE or else ~/.cache/audiogen.
        num_workers: Number of processes that compute spectrograms; null for one per core.
        shards: Folder or URL of shards written by `prepare --shards`, which are used instead of audio files.
        domains: Use the classes as domains to convert between. Training draws equal numbers of clips from each domain,
            whatever its size, and a sound that is in two domains is left out.

    Raises:
        ValueError: If `batch_size` or `num_workers` is less than 1, or if a setting of the pipeline is out of range.
    """

    def __init__(
        self,
        dataset: AudioDataset,
        transform: SpectrogramTransform,
        batch_size: int = 32,
        root: str | None = None,
        preprocess: list[PreprocessStep] | None = None,
        crop: Crop = "start",
        min_seconds: float = 0.05,
        segment_seconds: float = 60.0,
        cache: str | None = None,
        num_workers: int | None = None,
        shards: str | None = None,
        domains: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (num_workers is not None and num_workers < 1):
            raise ValueError(f"batch_size and num_workers must be at least 1, got {batch_size} and {num_workers}")
        self.dataset, self.transform, self.batch_size = dataset, transform, batch_size
        self.root = None if root is None else Path(root).expanduser()
        self.pipeline = Pipeline(transform, tuple(preprocess or ()), crop, min_seconds, segment_seconds)
        self.cache = (cache_folder() if cache is None else Path(cache).expanduser()) / "spectrograms"
        self.shards, self.domains = shards, domains
        self.num_workers = num_workers or len(os.sched_getaffinity(0))

    @cached_property
    def loaded(self) -> LoadedData:
        """The loaded data; read on first access."""
        if self.shards is not None:
            return load_shards(self.shards, self.pipeline)
        items = self.dataset.scan(self.root)
        main_process = os.environ.get("LOCAL_RANK", "0") == "0"
        loaded = load(
            items,
            self.pipeline,
            self.cache,
            self.dataset.label_order,
            self.num_workers,
            main_process,
            exclusive=self.domains,
            several_labels=self.dataset.several_labels,
        )
        return replace(loaded, notes=self.dataset.notes)

    def setup(self, stage: str) -> None:
        """Log a summary of the data, and list every file that was left out in `left_out.txt` in the run directory."""
        assert self.trainer is not None
        rank_zero_info(self.loaded.summary())
        if stage == "fit" and (padded := self.loaded.num_padded()):
            clip = f"a clip of {self.transform.seconds:.2f} s"
            rank_zero_info(f"  {padded} of the files are shorter than {clip} and padded with silence")
        if stage == "fit" and self.trainer.is_global_zero:
            path = Path(self.trainer.default_root_dir) / "left_out.txt"
            path.unlink(missing_ok=True)
            if self.loaded.rejected:
                write_text(path, self.loaded.left_out())

    @property
    def label_names(self) -> list[str]:
        """Class names in index order; empty without classes."""
        return self.loaded.label_names

    @property
    def fingerprint(self) -> str:
        """Digest of the data that changes with any file, split or class."""
        return self.loaded.fingerprint()

    @property
    def num_pairs(self) -> int:
        """Number of content and style pairs; 0 for data without pairs.

        Raises:
            DatasetError: If sounds have several segments, so that a pair is not one clip each.
        """
        items = self.loaded.items
        if not items or items[0].pair is None:
            return 0
        if len(self.split("test")) != len(items):
            raise DatasetError("pairs need one clip per sound: use --data.crop start or center")
        return len(items) // 2

    def split(self, name: Split) -> Spectrograms:
        """Return the clips of a split.

        Raises:
            DatasetError: If the split is empty.
        """
        splits = self.loaded.splits
        if name not in splits:
            raise DatasetError(f"this data set has no {name} split, only {', '.join(splits)}")
        return splits[name]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the endless training stream, starting at the model's position in it."""
        assert self.trainer is not None
        if self.num_pairs:
            return DataLoader(self.split("test"), batch_sampler=ResumedStream(self._pairs), collate_fn=_as_is)
        return DataLoader(
            self.split("train"), batch_sampler=ResumedStream(lambda: self._stream(self._clips_seen)), collate_fn=_as_is
        )

    @property
    def _clips_seen(self) -> int:
        assert self.trainer is not None
        return getattr(self.trainer.lightning_module, "clips_seen", 0)

    def recent(self, num_batches: int) -> Batch:
        """Return this process's slice of the last `num_batches` training batches (or the first ones) as one batch."""
        assert self.trainer is not None
        first = max(self._clips_seen - num_batches * self.batch_size, 0)
        batches = islice(self._stream(first), num_batches)
        return self.split("train").__getitems__([crop_index for batch in batches for crop_index in batch])

    def _stream(self, position: int) -> BatchStream:
        """Return the endless stream of training clips from a position on."""
        assert self.trainer is not None
        clips = self.split("train")
        classes = [torch.nonzero(clips.label == index)[:, 0].tolist() for index in range(len(self.label_names))]
        return BatchStream(
            len(clips),
            self.batch_size,
            seed=int(os.environ.get("PL_GLOBAL_SEED", 0)),
            position=position,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            groups=clips.groups,
            domains=[domain for domain in classes if domain] if self.domains else None,
        )

    def _pairs(self) -> PairStream:
        """Return batches of pairs, each repeated once per iteration of the model, starting at the model's position."""
        assert self.trainer is not None
        clips = self.split("test")
        content, style = (torch.nonzero(clips.label == index)[:, 0].tolist() for index in range(2))
        repeats = getattr(self.trainer.lightning_module, "iterations", 1)
        position = (self._clips_seen, self.trainer.global_rank, self.trainer.world_size)
        return PairStream(content, style, self.batch_size, repeats, *position)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return one pass over the validation split, or nothing in training if the split is empty."""
        assert self.trainer is not None
        if self.trainer.state.fn == "fit" and "val" not in self.loaded.splits:
            return []
        return self._one_pass("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return one pass over the test split."""
        return self._one_pass("test")

    def _one_pass(self, name: Split) -> DataLoader[Batch]:
        clips = self.split(name)
        # In a fixed shuffled order: to a discriminator that compares clips, a batch of one class would look uniform.
        order = shuffled(clips.groups, torch.Generator().manual_seed(0))
        batches: Any = [
            [(index, 0.5) for index in order[first : first + self.batch_size]]
            for first in range(0, len(order), self.batch_size)
        ]
        # Processes take whole batches, so that metrics do not depend on the number of processes. With domains, every
        # process sees all batches, because a slice of them might lack a domain.
        if self.trainer is not None and not self.domains and len(batches) >= self.trainer.world_size:
            batches = batches[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(clips, batch_sampler=batches, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    """Return a batch as it is; the data set has already collated it."""
    return batch
