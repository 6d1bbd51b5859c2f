"""Train a classifier of spectrograms on real clips, to evaluate generated clips with."""

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
    """Train a network to distinguish classes, with cross entropy and AdamW.

    Args:
        transform: The spectrogram definition (linked to the data's).
        label_names: Class names in index order, at least two (linked to the data's).
        batch_size: Clips per step over all processes (linked to the data's).
        network: Creates the network from (C, F, L) and the number of classes: an nn.Module with an attribute
            `num_features`, `embed(spec) -> features` [B, D] and `logits(features) -> logits` [B, num_classes].
        augment: Augmentation of training clips; null for none.
        total_kimg: Length of training in thousands of clips shown.
        learning_rate: Peak learning rate.
        schedule: Learning rate schedule: "one_cycle" to rise to the peak and fall to 0, or "constant" as in Huzaifah &
            Wyse (2020).
        weight_decay: AdamW's decoupled weight decay. With 0, AdamW equals Adam.
        label_smoothing: Probability mass moved from the true class to all classes evenly, in [0, 1).
        precision: Arithmetic of the convolutions: "bf16", "fp32", or "auto" for bf16 if the hardware computes in it.
        log_every_kimg: Interval of the logged mean loss and accuracy, in thousands of clips.

    Raises:
        ValueError: If the data have fewer than two classes, or if the schedule is unknown.
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
            raise ValueError(f"a classifier needs at least two classes, got {len(label_names)}")
        self.automatic_optimization = False
        self.network: Any = network(transform.shape, len(label_names)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.augment = augment if augment is not None else nn.Identity()
        if schedule not in ("one_cycle", "constant"):
            raise ValueError(f"schedule must be one_cycle or constant, got {schedule!r}")
        self.learning_rate, self.weight_decay, self.cycle = learning_rate, weight_decay, schedule == "one_cycle"
        self.label_smoothing = label_smoothing
        self.precision: Precision = precision

    def metric_names(self) -> set[str]:
        """Return the names of all logged metrics; see `KimgModule`."""
        means = {"loss/classifier", "gradient_norm/classifier", "train/accuracy", "speed/clips_per_second"}
        return means | {"val/accuracy"}

    def configure_optimizers(self) -> Optimizer:
        """Return AdamW for the network."""
        return AdamW(self.network.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one optimiser step on a batch."""
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
    """Return the fraction of correct predictions, float32 [], from logits [B, num_classes] and label [B]."""
    return (logits.argmax(dim=1) == label).float().mean()
