"""Evaluate the averaged generator: on validation clips during training, on test clips with the command `test`."""

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
    """Compute and log metrics at an interval.

    The callback sets the Trainer's validation interval and logs within the validation pass, so that Lightning's
    ModelCheckpoint and EarlyStopping can monitor metrics such as `fad`. The commands `validate` and `test` print them.

    Args:
        every_kimg: Interval between validation passes, in thousands of clips shown.

    Attributes:
        capability: Protocol that the model must implement.
        method: Its principal method.

    Raises:
        ValueError: If `every_kimg` is not positive.
    """

    capability: type[Trained]
    method: str

    def __init__(self, every_kimg: float) -> None:
        if every_kimg <= 0:
            raise ValueError(f"every_kimg must be > 0, got {every_kimg}")
        self.every_kimg = every_kimg
        self.evaluator: Any = None  # the current one
        self._evaluated_split = ""  # split of its real clips
        self._seconds = 0.0
        self._started = 0.0

    @abstractmethod
    def make_evaluator(self, model: Trained, reference: DatasetView, train: DatasetView, embedder: Embed) -> list[str]:
        """Create `evaluator`, set its real clips, and return notes for the user."""

    @abstractmethod
    def make_clips(self, model: Trained, reference: DatasetView, rank: int, world_size: int) -> Iterator[Any]:
        """Yield this rank's slice of the clips in batches for the evaluator.

        Every rank yields equally many batches; None stands for an empty one.
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
            ValueError: If the data have no validation split, the model lacks the capability, or flags of the Trainer
                set the validation interval.
        """
        model = trained(pl_module)
        self._evaluated_split = ""  # an evaluator of another model does not count
        name = type(self).__name__
        if sum(isinstance(callback, PeriodicEvaluation) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("there are two evaluation callbacks: list all embeddings in one")
        require(model, self.capability, self.method, name)
        if stage == "fit":
            if "val" not in trainer.datamodule.loaded.splits:  # type: ignore[attr-defined]
                raise ValueError(
                    f"{name} needs validation clips, but this data set has none: hold some out (such as "
                    "--data.dataset.init_args.val_fraction 0.1), or remove the callback."
                )
            if trainer.limit_val_batches == 0:
                raise ValueError(f"--trainer.limit_val_batches 0 would switch off {name}: remove the callback instead")
            if trainer.val_check_interval != 1.0 or trainer.check_val_every_n_epoch not in (None, 1):
                raise ValueError(
                    f"{name} sets when to validate: leave out --trainer.val_check_interval and "
                    "--trainer.check_val_every_n_epoch, and set every_kimg of the callback"
                )
            trainer.check_val_every_n_epoch = None
            # Rounded up: a pass also runs at the end of the training, and rounding down would put one just before it.
            trainer.val_check_interval = math.ceil(self.every_kimg * 1000 / model.batch_size - 1e-6)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Embed the real clips and start the clock."""
        model = trained(pl_module)
        self._prepare(trainer, model, "val")
        self._started, self._seconds = time.monotonic(), 0.0

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluate on validation clips."""
        model = trained(pl_module)
        if not trainer.sanity_checking:
            self._evaluate(trainer, model, "val")

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluate on test clips."""
        model = trained(pl_module)
        self._evaluate(trainer, model, "test")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the time spent in evaluations."""
        fraction = self._seconds / max(time.monotonic() - self._started, 1e-9)
        rank_zero_info(f"Evaluation took {self._seconds:.0f} s, {fraction:.0%} of the training time")

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
        """Create an evaluator with the real clips of a split, unless the current one has them."""
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
    """Generate clips with the averaged generator and compare them with real clips.

    Args:
        embeddings: Embeddings in which distances are measured; the first one defines `fad`.
        every_kimg: Interval between validation passes, in thousands of clips shown.
        num_clips: Number of clips to generate, in the proportions of the real classes.
        seed: Seed of the clips, the same at every pass.
        extra_metrics: Metrics in addition to the standard ones.

    Raises:
        ValueError: If `every_kimg` is not positive.
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
        """Create an evaluator with the embeddings; see `PeriodicEvaluation`."""
        settings = (model.transform, model.label_names, self.num_clips, model.device, self.extra_metrics)
        self.evaluator = Evaluator(self.embeddings, *settings)
        self.evaluator.set_real(reference, train, embedder)
        return self.evaluator.notes

    def make_clips(self, model: Trained, reference: DatasetView, rank: int, world_size: int) -> Iterator[Any]:
        """Generate clips; clip i of a class has the same seed as in `generate`. See `PeriodicEvaluation`."""
        model = cast(Samples, model)  # `setup` has checked it
        label, number = self.evaluator.wanted
        seeds = torch.tensor(model.clip_seeds(self.seed, int(number.max()) + 1))[number]
        for rows in rank_batches(len(label), SAMPLE_BATCH, rank, world_size):
            made = model.sample(label[rows], seeds[rows].tolist()) if len(rows) else None
            yield None if made is None else (made, label[rows].to(model.device))


def _until_stopped(trainer: lightning.Trainer, model: Trained, batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches of this rank; end the training if any rank received a signal."""
    for batch in batches:
        if batch is not None:
            yield batch
        if trainer.state.fn == "fit":
            leave_if_asked(trainer, model)
