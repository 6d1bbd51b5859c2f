"""Judge the averaged generator during training, on validation clips; in the verb `test`, on test clips."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.embeddings.memory import remembered
from audiogen.metrics.judge import Judge, clips_on
from audiogen.metrics.metric import EmbeddingMetric

SAMPLE_BATCH = 64


class PeriodicEvaluation(lightning.Callback, ABC):
    """Compute figures at an interval, log them, and tell what it cost.

    It decides when the Trainer validates: figures come with the validation pass, so that Lightning's ModelCheckpoint
    and EarlyStopping find them by their names, such as `fad`. The verbs `validate` and `test` print them.

    Args:
        every_kimg: Interval of the validation passes.

    Attributes:
        method: What a model must be able to do.

    Raises:
        ValueError: For values out of range.
    """

    method: str

    def __init__(self, every_kimg: float) -> None:
        if every_kimg <= 0:
            raise ValueError(f"every_kimg must be > 0, got {every_kimg}")
        self.every_kimg = every_kimg
        self._seconds = 0.0
        self._started = 0.0

    @abstractmethod
    def prepare(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> None:
        """Embed the real clips of a split."""

    @abstractmethod
    def figures(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> dict[str, float]:
        """Compute the figures beside those of the real clips of a split, after `prepare`."""

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Set the Trainer's validation interval.

        Raises:
            ValueError: For data without the split that is needed, and models of another kind.
        """
        name = type(self).__name__
        if sum(isinstance(callback, PeriodicEvaluation) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("there are two callbacks that evaluate: name all embeddings in one")
        if not hasattr(pl_module, self.method):
            raise ValueError(f"{name} needs a model with a method {self.method}; {type(pl_module).__name__} has none")
        if stage == "fit":
            if "val" not in trainer.datamodule.loaded.splits:  # type: ignore[attr-defined]
                raise ValueError(
                    f"{name} needs validation clips, and this data set has none: hold some out (such as "
                    "--data.dataset.init_args.val_share 0.1), or leave the callback out. Test clips are for the end."
                )
            trainer.check_val_every_n_epoch = None
            # Rounded up, lest the last pass but one lie a few steps before the end, where there is one in any case.
            trainer.val_check_interval = math.ceil(self.every_kimg * 1000 / pl_module.batch_size - 1e-6)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Embed the real clips, and start the clock."""
        self.prepare(trainer, pl_module, "val")
        self._started, self._seconds = time.monotonic(), 0.0

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Judge by validation clips."""
        if not trainer.sanity_checking:
            self._evaluate(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Judge by test clips."""
        self._evaluate(trainer, pl_module, "test")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Say what judging cost."""
        share = self._seconds / max(time.monotonic() - self._started, 1e-9)
        rank_zero_info(f"Evaluation took {self._seconds:.0f} s, {share:.0%} of the training's time")

    def _evaluate(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> None:
        start = time.monotonic()
        self.prepare(trainer, pl_module, split)
        figures = self.figures(trainer, pl_module, split)
        self._seconds += time.monotonic() - start
        if trainer.state.fn == "fit":
            elapsed = time.monotonic() - self._started
            figures |= {"evaluation/seconds": time.monotonic() - start, "evaluation/share": self._seconds / elapsed}
            pl_module.log_by_clips(figures)
        else:
            pl_module.log_dict({f"{split}/{name}": value for name, value in figures.items()})


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
        self._judge: Judge | None = None
        self._judged = ""  # the split of the real clips

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Forget the judge of another model; see `PeriodicEvaluation`."""
        self._judge = None
        super().setup(trainer, pl_module, stage)

    def figures(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> dict[str, float]:
        """Make clips and compute the figures."""
        assert self._judge is not None
        self._judge.update(self._generate(self._judge, pl_module, trainer.global_rank, trainer.world_size))
        return self._judge.compute()

    def prepare(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> None:
        """Make the judge, with real clips of a split."""
        if self._judge is not None and self._judged == split:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        device = pl_module.device
        names, num = pl_module.label_names, self.num_clips
        judge = Judge(self.embeddings, pl_module.transform, names, num, device, self.extra_metrics)
        start = time.monotonic()
        reference, train = clips_on(device, data.split(split)), clips_on(device, data.split("train"))
        judge.set_real(reference, train, remembered(data.cache.with_name("embeddings")))
        for note in judge.notes:
            rank_zero_info(f"Evaluation: {note}")
        seconds = time.monotonic() - start
        rank_zero_info(f"Evaluation: {len(reference.label)} {split} clips embedded in {seconds:.1f} s")
        self._judge, self._judged = judge, split

    def _generate(self, judge: Judge, pl_module: Any, rank: int, world_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's share of the clips; clip i of a class has the seed it has in `generate`."""
        label, number = judge.wanted
        seeds = torch.tensor(pl_module.clip_seeds(self.seed, int(number.max()) + 1))[number]
        for rows in torch.arange(rank, len(label), world_size).split(SAMPLE_BATCH):
            yield pl_module.sample(label[rows], seeds[rows].tolist()), label[rows].to(pl_module.device)
