"""Follow the training of a conversion model: metrics of converted clips, and pictures and sounds of fixed clips."""

from collections.abc import Iterator
from typing import Any, cast

import lightning
import torch
from torch import Tensor

from audiogen.callbacks.evaluation import PeriodicEvaluation
from audiogen.callbacks.samples import PeriodicSamples, spread
from audiogen.capabilities import Converts, Trained
from audiogen.distributed import rank_batches
from audiogen.metrics.conversion import BATCH, ConversionEvaluator, Task, convert_clips
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import DatasetView, Embed


class ConversionEvaluation(PeriodicEvaluation):
    """Convert all validation clips to every target with the averaged generator, and score them with two classifiers.

    The metrics are those of `ConversionEvaluator`.

    Args:
        domain: Classifier of the domains, such as speakers.
        content: Classifier of what conversion should preserve, such as words; null for none.
        every_kimg: Interval between validation passes, in thousands of clips shown.

    Raises:
        ValueError: If `every_kimg` is not positive.
    """

    capability = Converts
    method = "convert"

    def __init__(self, domain: Embedding, content: Embedding | None = None, every_kimg: float = 5.0) -> None:
        super().__init__(every_kimg)
        self.domain, self.content = domain, content
        self._task: Task | None = None

    def make_evaluator(self, model: Trained, reference: DatasetView, train: DatasetView, embedder: Embed) -> list[str]:
        """Create an evaluator with the classifiers; see `PeriodicEvaluation`."""
        model = cast(Converts, model)  # `setup` has checked it
        settings = (model.transform, model.label_names, model.targets, model.device)
        self.evaluator = ConversionEvaluator(self.domain, self.content, *settings)
        self._task = self.evaluator.set_real(reference, train, embedder)
        return []

    def make_clips(self, model: Trained, reference: DatasetView, rank: int, world_size: int) -> Iterator[Any]:
        """Convert the clips; see `PeriodicEvaluation`."""
        model = cast(Converts, model)  # `setup` has checked it
        assert self._task is not None
        for rows in rank_batches(len(self._task.source), BATCH, rank, world_size):
            own = Task(*(part[rows] for part in self._task))
            yield next(iter(convert_clips(model, reference, own))) if len(rows) else None


class ConversionLogger(PeriodicSamples):
    """Draw the same clips at an interval: sources, their conversions, and reproduced clips of the target.

    Writes `samples/kimg-00010.000.png`, ... in the run directory, and at the end sounds of one clip per target:
    `samples/to-nicolas-source.wav`, `to-nicolas-converted.wav`, `nicolas-real.wav`, `nicolas-reproduced.wav`. Clips
    come from the validation split if it has all domains. TensorBoard and W&B receive the pictures and sounds too.

    Args:
        every_kimg: Interval in thousands of clips shown.
        num_clips: Clips in each row.

    Raises:
        ValueError: If `every_kimg` or `num_clips` is not positive.
    """

    capability = Converts
    method = "convert"

    def __init__(self, every_kimg: float = 10.0, num_clips: int = 8) -> None:
        super().__init__(every_kimg, num_clips)
        self.num_clips = num_clips

    def show(self, trainer: lightning.Trainer, model: Trained, write: bool) -> None:
        """Convert the clips; see `PeriodicSamples`."""
        model = cast(Converts, model)  # `setup` has checked it
        loaded = trainer.datamodule.loaded  # type: ignore[attr-defined]
        clips = loaded.splits.get("val", loaded.splits["train"])
        if len(clips.label.unique()) < len(model.label_names):
            clips = loaded.splits["train"]  # a small domain has no held-out clips
        num = min(self.num_clips, int(clips.label.bincount().min()))
        rows: dict[str, Tensor] = {}
        for index in model.targets:
            name, target = model.label_names[index], torch.full((num,), index)
            for shown, made, mask in (
                (f"to-{name}-source", f"to-{name}-converted", clips.label != index),
                (f"{name}-real", f"{name}-reproduced", clips.label == index),
            ):
                spec = clips.take(spread(torch.nonzero(mask)[:, 0], num))
                rows |= {shown: spec, made: model.convert(spec, target).cpu()}
        spec = torch.stack(list(rows.values()))  # [R, N, C, F, L]
        names = ["\n".join(name.rsplit("-", 1)) for name in rows]
        self.draw(trainer, model, spec, names, f"kimg-{model.kimg:09.3f}", "samples/converted")
        self.sound(trainer, model, spec[:, 0], {name: f"sounds/{name}" for name in rows}, write)
