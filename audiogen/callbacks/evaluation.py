"""Evaluate the averaged generator during training, on validation clips; in the command `test`, on test clips."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info

from audiogen.callbacks.interruption import leave_if_asked
from audiogen.capabilities import Samples, Trained, require, trained
from audiogen.distributed import all_reduce_mean, rank_batches
from audiogen.metrics.embeddings.cache import cached_embedder
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import DatasetView, Embed, Evaluator, view_on
from audiogen.metrics.metric import EmbeddingMetric
from audiogen.scalars import SPEED, Scalar

SAMPLE_BATCH = 64
COST = (Scalar("evaluation/seconds", SPEED, unit="s"), Scalar("evaluation/time_fraction", SPEED))


class PeriodicEvaluation(lightning.Callback, ABC):
    """Compute metrics at an interval, log them, and tell what it cost.

    It decides when the Trainer validates: metrics come with the validation pass, so that Lightning's ModelCheckpoint
    and EarlyStopping find them by their names, such as `fad`. The commands `validate` and `test` print them.

    Args:
        every_kimg: Interval of the validation passes.

    Attributes:
        capability: What the model must be able to do.
        method: Name of the method that does it.

    Raises:
        ValueError: For values out of range.
    """

    capability: type[Trained]
    method: str

    def __init__(self, every_kimg: float) -> None:
        if every_kimg <= 0:
            raise ValueError(f"every_kimg must be > 0, got {every_kimg}")
        self.every_kimg = every_kimg
        self.evaluator: Any = None  # the one that was made last
        self._evaluated_split = ""  # the split of the real clips that it has
        self._seconds = 0.0
        self._started = 0.0

    @abstractmethod
    def make_evaluator(self, model: Trained, reference: DatasetView, train: DatasetView, embedder: Embed) -> list[str]:
        """Make `evaluator`, give it real clips, and return what there is to say of them."""

    @abstractmethod
    def make_clips(self, model: Trained, reference: DatasetView, rank: int, world_size: int) -> Iterator[Any]:
        """Make this process's share of the clips in batches for the evaluator, as many batches as other processes do.

        None stands for a batch that only others have.
        """

    def metric_names(self) -> set[str]:
        """Return the names of all metrics that it logs; complete after the real clips have been embedded."""
        return self.evaluator.names() | {scalar.name for scalar in COST}

    @property
    def scalars(self) -> list[Scalar]:
        """Descriptions of the metrics that it logs; complete after the evaluator has been created."""
        return [*([] if self.evaluator is None else self.evaluator.scalars), *COST]

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Set the Trainer's validation interval.

        Raises:
            ValueError: For data without the split that is needed, models of another kind, and flags of the Trainer that
                would validate at other times or never.
        """
        model = trained(pl_module)
        self._evaluated_split = ""  # by the evaluator of another model
        name = type(self).__name__
        if sum(isinstance(callback, PeriodicEvaluation) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("there are two callbacks that evaluate: name all embeddings in one")
        require(model, self.capability, self.method, name)
        if stage == "fit":
            if "val" not in trainer.datamodule.loaded.splits:  # type: ignore[attr-defined]
                raise ValueError(
                    f"{name} needs validation clips, and this data set has none: hold some out (such as "
                    "--data.dataset.init_args.val_fraction 0.1), or leave the callback out. Test clips are for the end."
                )
            if trainer.limit_val_batches == 0:
                raise ValueError(f"--trainer.limit_val_batches 0 would switch off {name}: remove the callback instead")
            if trainer.val_check_interval != 1.0 or trainer.check_val_every_n_epoch not in (None, 1):
                raise ValueError(
                    f"{name} sets when to validate: leave out --trainer.val_check_interval and "
                    "--trainer.check_val_every_n_epoch, and set every_kimg of the callback"
                )
            trainer.check_val_every_n_epoch = None
            # Rounded up, lest the last pass but one lie a few steps before the end, where there is one in any case.
            trainer.val_check_interval = math.ceil(self.every_kimg * 1000 / model.batch_size - 1e-6)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Embed the real clips, and start the clock."""
        model = trained(pl_module)
        self._prepare(trainer, model, "val")
        self._started, self._seconds = time.monotonic(), 0.0

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluator by validation clips."""
        model = trained(pl_module)
        if not trainer.sanity_checking:
            self._evaluate(trainer, model, "val")

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluator by test clips."""
        model = trained(pl_module)
        self._evaluate(trainer, model, "test")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say what evaluating cost."""
        share = self._seconds / max(time.monotonic() - self._started, 1e-9)
        rank_zero_info(f"Evaluation took {self._seconds:.0f} s, {share:.0%} of the training's time")

    def _evaluate(self, trainer: lightning.Trainer, model: Trained, split: str) -> None:
        start = time.monotonic()
        self._prepare(trainer, model, split)
        clips = view_on(model.device, trainer.datamodule.split(split))  # type: ignore[attr-defined]
        made = self.make_clips(model, clips, trainer.global_rank, trainer.world_size)
        self.evaluator.update(_until_stopped(trainer, model, made))
        scores = self.evaluator.compute()
        self._seconds += time.monotonic() - start
        if trainer.state.fn == "fit":
            now = time.monotonic()
            clocks = torch.tensor([now - start, self._seconds / (now - self._started)], device=model.device)
            seconds, fraction = all_reduce_mean(clocks).tolist()
            scores |= {"evaluation/seconds": seconds, "evaluation/time_fraction": fraction}
            model.log_by_clips(scores)
        else:
            model.log_dict({f"{split}/{name}": value for name, value in scores.items()})

    def _prepare(self, trainer: lightning.Trainer, model: Trained, split: str) -> None:
        """Have an evaluator made that knows the real clips of a split, where the last one does not."""
        if self._evaluated_split == split:
            return
        start = time.monotonic()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        reference, train = (view_on(model.device, data.split(name)) for name in (split, "train"))
        for note in self.make_evaluator(model, reference, train, cached_embedder(data.cache.with_name("embeddings"))):
            rank_zero_info(f"Evaluation: {note}")
        seconds = time.monotonic() - start
        rank_zero_info(f"Evaluation: {len(reference.label)} {split} clips embedded in {seconds:.1f} s")
        self._evaluated_split = split


class Evaluation(PeriodicEvaluation):
    """Make clips with the averaged generator and score them beside real clips.

    Args:
        embeddings: In which distances are measured; the first gives `fad`.
        every_kimg: Interval of the validation passes.
        num_clips: To be made, of each class as large a share as of the real ones.
        seed: Of the clips: the same ones each time.
        extra_metrics: Metrics beside the ones that are always computed.

    Raises:
        ValueError: For values out of range.
    """

    capability = Samples
    method = "sample"

    def __init__(
        self,
        embeddings: list[Embedding],
        every_kimg: float = 5.0,
        num_clips: int = 1000,
        seed: int = 0,
        extra_metrics: list[EmbeddingMetric] | None = None,
    ) -> None:
        super().__init__(every_kimg)
        self.embeddings, self.num_clips, self.seed = embeddings, num_clips, seed
        self.extra_metrics = extra_metrics or []

    def make_evaluator(self, model: Trained, reference: DatasetView, train: DatasetView, embedder: Embed) -> list[str]:
        """Make an evaluator with the embeddings; see `PeriodicEvaluation`."""
        settings = (model.transform, model.label_names, self.num_clips, model.device, self.extra_metrics)
        self.evaluator = Evaluator(self.embeddings, *settings)
        self.evaluator.set_real(reference, train, embedder)
        return self.evaluator.notes

    def make_clips(self, model: Trained, reference: DatasetView, rank: int, world_size: int) -> Iterator[Any]:
        """Generate clips; clip i of a class has the seed it has in `generate`. See `PeriodicEvaluation`."""
        model = cast(Samples, model)  # `setup` has checked it
        label, number = self.evaluator.wanted
        seeds = torch.tensor(model.clip_seeds(self.seed, int(number.max()) + 1))[number]
        for rows in rank_batches(len(label), SAMPLE_BATCH, rank, world_size):
            made = model.sample(label[rows], seeds[rows].tolist()) if len(rows) else None
            yield None if made is None else (made, label[rows].to(model.device))


def _until_stopped(trainer: lightning.Trainer, model: Trained, batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches of this process, and leave the training at a signal to any."""
    for batch in batches:
        if batch is not None:
            yield batch
        if trainer.state.fn == "fit":
            leave_if_asked(trainer, model)
