"""Judge the averaged generator during training, on validation clips; in the verb `test`, on test clips."""

import math
import time
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.embeddings.memory import remembered
from audiogen.metrics.judge import Clips, Judge
from audiogen.metrics.metric import EmbeddingMetric

SAMPLE_BATCH = 64


class Evaluation(lightning.Callback):
    """Make clips with the averaged generator, score them beside real clips, and log the figures.

    It decides when the Trainer validates: figures come with the validation pass, so that Lightning's ModelCheckpoint
    and EarlyStopping find them by their names, such as `fad`. The verbs `validate` and `test` print them.

    Args:
        embeddings: In which distances are measured; the first gives `fad`.
        every_kimg: Interval of the validation passes.
        num_clips: To be made, of each class as large a share as of the real ones.
        seed: Of the clips: the same ones each time.
        extra_metrics: Metrics beside the ones that are always computed.

    Raises:
        ValueError: For values out of range.
    """

    def __init__(
        self,
        embeddings: list[Embedding],
        every_kimg: float = 5.0,
        num_clips: int = 1000,
        seed: int = 0,
        extra_metrics: list[EmbeddingMetric] | None = None,
    ) -> None:
        if every_kimg <= 0:
            raise ValueError(f"every_kimg must be > 0, got {every_kimg}")
        self.embeddings, self.every_kimg = embeddings, every_kimg
        self.num_clips, self.seed = num_clips, seed
        self.extra_metrics = extra_metrics or []
        self._judge: Judge | None = None
        self._judged = ""  # the split of the real clips
        self._seconds = 0.0
        self._started = 0.0

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Set the Trainer's validation interval.

        Raises:
            ValueError: For data without the split that is needed, and models that make no clips.
        """
        self._judge = None
        if sum(isinstance(callback, Evaluation) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("there are two Evaluation callbacks: name all embeddings in one")
        if not hasattr(pl_module, "sample"):
            raise ValueError(f"Evaluation needs a model with a method sample; {type(pl_module).__name__} has none")
        if stage == "fit":
            if "val" not in trainer.datamodule.loaded.splits:  # type: ignore[attr-defined]
                raise ValueError(
                    "Evaluation needs validation clips, and this data set has none: hold some out (such as "
                    "--data.dataset.init_args.val_share 0.1), or leave the callback out. Test clips are for the end."
                )
            trainer.check_val_every_n_epoch = None
            # Rounded up, lest the last pass but one lie a few steps before the end, where there is one in any case.
            trainer.val_check_interval = math.ceil(self.every_kimg * 1000 / pl_module.batch_size - 1e-6)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Embed the real clips, and start the clock."""
        self._prepare(trainer, pl_module, "val")
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
        judge = self._prepare(trainer, pl_module, split)
        judge.update(self._generate(judge, pl_module, trainer.global_rank, trainer.world_size))
        figures = judge.compute()
        self._seconds += time.monotonic() - start
        if trainer.state.fn == "fit":
            elapsed = time.monotonic() - self._started
            figures |= {"evaluation/seconds": time.monotonic() - start, "evaluation/share": self._seconds / elapsed}
            pl_module.log_by_clips(figures)
        else:
            pl_module.log_dict({f"{split}/{name}": value for name, value in figures.items()})

    def _prepare(self, trainer: lightning.Trainer, pl_module: Any, split: str) -> Judge:
        """Return the judge, with real clips of a split."""
        if self._judge is not None and self._judged == split:
            return self._judge
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        device = pl_module.device
        names, num = pl_module.label_names, self.num_clips
        judge = Judge(self.embeddings, pl_module.transform, names, num, device, self.extra_metrics)
        start = time.monotonic()
        reference, train = _clips(data.split(split), device), _clips(data.split("train"), device)
        judge.set_real(reference, train, remembered(data.cache.with_name("embeddings")))
        for note in judge.notes:
            rank_zero_info(f"Evaluation: {note}")
        seconds = time.monotonic() - start
        rank_zero_info(f"Evaluation: {len(reference.label)} {split} clips embedded in {seconds:.1f} s")
        self._judge, self._judged = judge, split
        return judge

    def _generate(self, judge: Judge, pl_module: Any, rank: int, world_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's share of the clips; clip i of a class has the seed it has in `generate`."""
        label, number = judge.wanted
        seeds = torch.tensor(pl_module.clip_seeds(self.seed, int(number.max()) + 1))[number]
        for rows in torch.arange(rank, len(label), world_size).split(SAMPLE_BATCH):
            yield pl_module.sample(label[rows], seeds[rows].tolist()), label[rows].to(pl_module.device)


def _clips(clips: Any, device: torch.device) -> Clips:
    return Clips(lambda rows: clips.take(rows).to(device), clips.label)
