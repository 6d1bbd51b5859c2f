"""The LightningDataModule that all models share."""

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
from audiogen.data.stream import BatchStream, Entered, PairStream, shuffled
from audiogen.transforms.transform import SpectrogramTransform


class SpectrogramData(lightning.LightningDataModule):
    """Spectrograms of a data set: an endless stream to train on, and passes over the other splits.

    Args:
        dataset: Which files there are, and their classes and splits.
        transform: The spectrogram definition.
        batch_size: Clips per training step over all processes.
        root: Folder of the data set.
        preprocess: What is done to the sounds before, in this order.
        crop: What is taken of sounds longer than a clip: their "start", their "center", or a "random" part each time;
            shorter ones are padded with silence at their end.
        min_seconds: Shorter files are left out.
        segment_seconds: Longer files are not read at once: "start" and "center" see one segment of them, for "random"
            each is a clip of its own.
        cache: Folder of stored spectrograms; $AUDIOGEN_CACHE or else ~/.cache/audiogen by default.
        num_workers: Processes that compute spectrograms; all cores by default.
        shards: Folder or URL of shards that `prepare --shards` wrote; no sound files are read then.
        domains: Whether the classes are domains to convert between: equal numbers of clips of each are drawn to train
            on, however many there are, and a sound that is in two of them is left out.
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
        """The data, read when first asked for."""
        if self.shards is not None:
            return load_shards(self.shards, self.pipeline)
        clips = self.dataset.scan(self.root)
        main_process = os.environ.get("LOCAL_RANK", "0") == "0"
        found = load(
            clips,
            self.pipeline,
            self.cache,
            self.dataset.label_order,
            self.num_workers,
            main_process,
            exclusive=self.domains,
            several_labels=self.dataset.several_labels,
        )
        return replace(found, notes=self.dataset.notes)

    def setup(self, stage: str) -> None:
        """Tell what the data are, and name every file that was left out in the run directory: the log names a few."""
        assert self.trainer is not None
        rank_zero_info(self.loaded.summary())
        if stage == "fit" and (padded := self.loaded.num_padded()):
            clip = f"a clip of {self.transform.seconds:.2f} s"
            rank_zero_info(f"  {padded} of the files are shorter than {clip}: padded with silence")
        if stage == "fit" and self.trainer.is_global_zero:
            path = Path(self.trainer.default_root_dir) / "left_out.txt"
            path.unlink(missing_ok=True)
            if self.loaded.rejected:
                write_text(path, self.loaded.left_out())

    @property
    def label_names(self) -> list[str]:
        """Class names in index order, empty without classes."""
        return self.loaded.label_names

    @property
    def fingerprint(self) -> str:
        """What differs where a file, a split or a class of the data does."""
        return self.loaded.fingerprint()

    @property
    def num_pairs(self) -> int:
        """Pairs of a content and a style; 0 of other data.

        Raises:
            DatasetError: Where sounds are in several segments, so that pairs are not of one clip each.
        """
        clips = self.loaded.clips
        if not clips or clips[0].pair is None:
            return 0
        if len(self.split("test")) != len(clips):
            raise DatasetError("of pairs, one clip each is taken: use --data.crop start or center")
        return len(clips) // 2

    def split(self, name: Split) -> Spectrograms:
        """Return the clips of a split.

        Raises:
            DatasetError: Where there are none.
        """
        splits = self.loaded.splits
        if name not in splits:
            raise DatasetError(f"this data set has no {name} split, only {', '.join(splits)}")
        return splits[name]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the endless stream, entered where the model stopped."""
        assert self.trainer is not None
        if self.num_pairs:
            return DataLoader(self.split("test"), batch_sampler=Entered(self._pairs), collate_fn=_as_is)
        return DataLoader(
            self.split("train"), batch_sampler=Entered(lambda: self._stream(self._clips_seen)), collate_fn=_as_is
        )

    @property
    def _clips_seen(self) -> int:
        assert self.trainer is not None
        return getattr(self.trainer.lightning_module, "clips_seen", 0)

    def recent(self, num_batches: int) -> Batch:
        """Return this process's clips of the batches last trained on, or of the first ones, as one batch."""
        assert self.trainer is not None
        first = max(self._clips_seen - num_batches * self.batch_size, 0)
        batches = islice(self._stream(first), num_batches)
        return self.split("train").__getitems__([draw for batch in batches for draw in batch])

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
            parts=[part for part in classes if part] if self.domains else None,
        )

    def _pairs(self) -> PairStream:
        """Return the batches of pairs, each as often as the model evaluates it, from where the model stopped."""
        assert self.trainer is not None
        clips = self.split("test")
        content, style = (torch.nonzero(clips.label == index)[:, 0].tolist() for index in range(2))
        repeats = getattr(self.trainer.lightning_module, "iterations", 1)
        place = (self._clips_seen, self.trainer.global_rank, self.trainer.world_size)
        return PairStream(content, style, self.batch_size, repeats, *place)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return one pass over the validation split; data without one can be trained on, but not validated."""
        assert self.trainer is not None
        if self.trainer.state.fn == "fit" and "val" not in self.loaded.splits:
            return []
        return self._one_pass("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return one pass over the test split."""
        return self._one_pass("test")

    def _one_pass(self, name: Split) -> DataLoader[Batch]:
        clips = self.split(name)
        # Shuffled once and for all: batches of one class would look uniform to a discriminator that sees whole batches.
        order = shuffled(clips.groups, torch.Generator().manual_seed(0))
        batches: Any = [
            [(index, 0.5) for index in order[first : first + self.batch_size]]
            for first in range(0, len(order), self.batch_size)
        ]
        # Whole batches, so that metrics do not depend on the processes. Of domains a share might lack one.
        if self.trainer is not None and not self.domains and len(batches) >= self.trainer.world_size:
            batches = batches[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(clips, batch_sampler=batches, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    """Keep a batch that the data set has put together itself."""
    return batch
