"""A classifier of spectrograms, trained on real clips: it evaluates generated ones."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from audiogen.data.batch import Batch
from audiogen.models.kimg import KimgModule
from audiogen.models.precision import Precision, autocast
from audiogen.models.schedules import one_cycle
from audiogen.scalars import QUALITY, Scalar
from audiogen.transforms.transform import SpectrogramTransform

Shape = tuple[int, int, int]


class Classifier(KimgModule):
    """Train a network to tell the classes apart: AdamW, by default a learning rate that rises and falls, cross entropy.

    Args:
        transform: The spectrogram definition (linked to the data's).
        label_names: Class names in index order, at least two (linked to the data's).
        batch_size: Clips per step over all processes (linked to the data's).
        network: Makes the network from (C, F, L) and the number of classes: an nn.Module with an attribute
            `num_features`, `embed(spec) -> features` [B, D] and `logits(features) -> logits` [B, num_classes].
        augment: Applied to the clips that it is trained on.
        total_kimg: Length of the training in thousands of clips shown.
        learning_rate: The highest.
        schedule: "one_cycle" rises and falls; "constant" keeps the learning rate, as Huzaifah & Wyse (2020) does.
        weight_decay: Of AdamW; with 0 it is Adam.
        label_smoothing: Share of the probability that the wrong classes get together.
        precision: "bf16" runs the convolutions in it, "auto" where the machine is fast in it.
        log_every_kimg: How often means of loss and accuracy are logged.

    Raises:
        ValueError: For data without classes or with one, and for an unknown schedule.
    """

    scalars = (
        Scalar("val/accuracy", QUALITY, higher_is_better=True, plot="accuracy", headline=True),
        Scalar("train/accuracy", QUALITY, higher_is_better=True, plot="accuracy"),
        *KimgModule.scalars,
    )

    def __init__(
        self,
        transform: SpectrogramTransform,
        label_names: list[str],
        batch_size: int,
        network: Callable[[Shape, int], nn.Module],
        augment: nn.Module | None = None,
        total_kimg: float = 40.0,
        learning_rate: float = 0.004,
        schedule: Literal["one_cycle", "constant"] = "one_cycle",
        weight_decay: float = 0.01,
        label_smoothing: float = 0.05,
        precision: Precision = "auto",
        log_every_kimg: float = 1.0,
    ) -> None:
        super().__init__(transform, label_names, batch_size, total_kimg, log_every_kimg)
        self.save_hyperparameters()
        if len(label_names) < 2:
            raise ValueError(f"a classifier needs at least two classes, the data have {len(label_names)}")
        self.automatic_optimization = False  # as all models of the package
        self.network: Any = network(transform.shape, len(label_names)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.augment = augment if augment is not None else nn.Identity()
        if schedule not in ("one_cycle", "constant"):
            raise ValueError(f"schedule must be one_cycle or constant, got {schedule!r}")
        self.learning_rate, self.weight_decay, self.cycle = learning_rate, weight_decay, schedule == "one_cycle"
        self.label_smoothing = label_smoothing
        self.precision: Precision = precision

    def metric_names(self) -> set[str]:
        """Return the names of all metrics that are logged; see `KimgModule`."""
        means = {"loss/classifier", "gradient_norm/classifier", "train/accuracy", "speed/clips_per_second"}
        return means | {"val/accuracy"}

    def configure_optimizers(self) -> Optimizer:
        """Return AdamW."""
        return AdamW(self.network.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one step on one batch."""
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * (one_cycle(self.kimg / self.total_kimg) if self.cycle else 1)
        with autocast(self.precision, self.device):
            logits = self.network(self.augment(batch.spec).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), batch.label, label_smoothing=self.label_smoothing)
        self.manual_backward(loss)
        self.update(optimizer, "classifier", self.network)
        self.record("loss/classifier", loss)
        self.record("train/accuracy", _accuracy(logits, batch.label))
        self.count_clips()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the accuracy on validation clips."""
        self.log_held_out("val/accuracy", _accuracy(self.network(batch.spec), batch.label))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the accuracy on test clips."""
        self.log_held_out("test/accuracy", _accuracy(self.network(batch.spec), batch.label))


def _accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the share of clips whose highest logit [B, num_classes] is that of their label [B], float32 []."""
    return (logits.argmax(dim=1) == label).float().mean()
