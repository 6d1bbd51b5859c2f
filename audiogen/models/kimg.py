"""Share what all models have in common: progress in clips, reproducible randomness and averaged logging."""

import math
import os
import time
from typing import Any, ClassVar

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from audiogen import rng
from audiogen.distributed import all_gather, all_reduce_mean, all_reduce_mean_, num_processes
from audiogen.models.optimizer_states import check_optimizer_states
from audiogen.scalars import LOSSES, SPEED, Scalar
from audiogen.transforms.transform import SpectrogramTransform


class KimgModule(lightning.LightningModule):
    """A LightningModule that measures training in thousands of real clips shown (kimg).

    Lightning counts optimiser steps, which depend on the number of optimisers and on the batch size. Clips do not, so
    training ends, logs and saves by clips. Random state is a function of the seed and the clips shown, so a resumed run
    draws the same numbers as an uninterrupted one.

    Processes split each batch. `update` averages gradients over them once per optimiser step, however many backward
    passes preceded it.

    A subclass draws random numbers with `audiogen.rng`, calls `record` with the scalars of each step, `update` for each
    optimiser step, and `count_clips` at the end of its `training_step`.

    Args:
        transform: The spectrogram definition.
        label_names: Class names in index order; empty without classes.
        batch_size: Clips per step over all processes.
        total_kimg: Length of training in thousands of clips shown.
        log_every_kimg: Interval of the logged means, in thousands of clips.

    Attributes:
        scalars: Descriptions of the logged scalars.
        averaged: Names of the submodules with averaged weights, which make the clips.
        mid_step: Whether a step is in progress, so that some networks may be updated and others not.
        stopped: Whether a callback ended training before all clips were shown. Saved in checkpoints.
        resume_stopped: Whether to continue training that a callback had ended.
        max_skipped: Maximum number of consecutive steps that may be skipped because a gradient is NaN or infinite. One
            more ends training. With 0, the first such gradient ends training.

    Raises:
        ValueError: If `batch_size`, `total_kimg` or `log_every_kimg` is out of range.
    """

    scalars: ClassVar[tuple[Scalar, ...]] = (
        Scalar("loss/", LOSSES, log_scale=True, headline=True),
        Scalar("penalty/", LOSSES, log_scale=True),
        Scalar("gradient_norm/", LOSSES, log_scale=True),
        Scalar("speed/clips_per_second", SPEED, unit="clips/s"),
    )
    averaged: tuple[str, ...] = ()
    max_skipped: int = 0
    mid_step: bool = False
    stopped: bool = False
    resume_stopped: bool = False

    def __init__(
        self,
        transform: SpectrogramTransform,
        label_names: list[str],
        batch_size: int,
        total_kimg: float,
        log_every_kimg: float,
    ) -> None:
        super().__init__()
        if batch_size < 1 or total_kimg <= 0 or log_every_kimg <= 0:
            raise ValueError(
                "need batch_size >= 1, total_kimg > 0 and log_every_kimg > 0, got "
                f"{batch_size}, {total_kimg} and {log_every_kimg}"
            )
        self.transform = transform
        self.label_names = label_names
        self.batch_size = batch_size
        self.total_kimg = total_kimg
        self.log_every_kimg = log_every_kimg
        self.clips_seen = 0
        self.last_logged: dict[str, float] = {}
        self._recorded: dict[str, list[Tensor]] = {}
        self._last_log: tuple[float, int] | None = None  # time of the last log and the clips seen then
        self._batch: Any = None  # batch of this step
        self._buffers_before: dict[str, Tensor] = {}  # copied before each step that may be skipped
        self._skipped: list[int] = []  # clips shown before each of the latest consecutive skipped steps

    @property
    def kimg(self) -> float:
        """Thousands of real clips shown so far, over all processes."""
        return self.clips_seen / 1000

    def metric_names(self) -> set[str] | None:
        """Return the names of all metrics that training and validation log, or None if not known in advance."""
        return None

    @property
    def ended(self) -> bool:
        """Whether training is complete or was stopped."""
        return self.stopped or self.clips_seen >= self.total_kimg * 1000

    def crossed(self, interval_kimg: float) -> bool:
        """Return whether the step just counted passed a multiple of an interval."""
        interval = interval_kimg * 1000
        return self.clips_seen // interval > (self.clips_seen - self.batch_size) // interval

    def record(self, name: str, value: Tensor) -> None:
        """Add a scalar to the next logged mean of `name`. It stays on its device until then."""
        self._recorded.setdefault(name, []).append(value.detach())

    def update(self, optimizer: Any, name: str, *networks: nn.Module) -> None:
        """Take an optimiser step with the mean gradient of all processes, record its norm and clear gradients.

        If a gradient is NaN or infinite, the step is skipped, up to `max_skipped` times in a row.

        Args:
            optimizer: Optimiser of the networks.
            name: Name of the networks in the log and in messages.
            networks: Networks with gradients.

        Raises:
            FloatingPointError: If the gradient (once too often) or the new weights are NaN or infinite.
        """
        weights = [weight for network in networks for weight in network.parameters()]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        all_reduce_mean_(gradients)
        norm = nn.utils.get_total_norm(gradients)
        self.record(f"gradient_norm/{name}", norm)
        if norm.isfinite():
            optimizer.step()
            if not nn.utils.get_total_norm(weights).isfinite():
                raise self._not_finite(f"the weights of {name}")
        else:
            self._skip(name)
        optimizer.zero_grad()

    def _skip(self, name: str) -> None:
        """Undo the effects of a skipped step and log a message.

        Raises:
            FloatingPointError: If too many consecutive steps were skipped.
        """
        if self._skipped and self._skipped[-1] < self.clips_seen - self.batch_size:
            self._skipped = []
        if self.clips_seen not in self._skipped:  # count each step once, even for several networks
            self._skipped.append(self.clips_seen)
        error = self._not_finite(f"the gradient of {name}")
        if len(self._skipped) > self.max_skipped:
            raise error
        rank_zero_info(f"Skipped: {error}")
        with torch.no_grad():
            for buffer_name, buffer in self.named_buffers():  # such as running means of batch normalisation
                buffer.copy_(self._buffers_before[buffer_name])

    def _not_finite(self, what: str) -> FloatingPointError:
        """Return an error for NaN or infinite values, with the probable cause."""
        spec = getattr(self._batch, "spec", None)
        bad = 0 if spec is None else int((~spec.flatten(1).isfinite()).any(dim=1).sum())
        if bad:
            why = f"The batch has NaN or infinite values in {bad} of its clips."
        else:
            why = "The same settings will fail again. Lower the learning rate, then resume with --ckpt_path last."
        return FloatingPointError(f"{what} became NaN or infinite at {self.kimg:g} kimg. {why}")

    def count_clips(self) -> None:
        """Count the step's clips, log means if due, and end the run once all clips have been shown."""
        self.clips_seen += self.batch_size
        if self.ended or self.crossed(self.log_every_kimg):
            self._log_recorded()
        if self.ended:
            self.trainer.should_stop = True
        self.mid_step = False

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Seed the random numbers of the step. If the run has already ended, end it again at once."""
        if self.ended:
            self.trainer.should_stop = True
            return -1
        self.mid_step = True
        self.seed_rng()
        self._batch = batch
        if self.max_skipped:
            self._buffers_before = {name: buffer.clone() for name, buffer in self.named_buffers()}
        return None

    def on_validation_epoch_start(self) -> None:
        """Seed the random numbers of validation, in which each process has whole batches rather than slices."""
        self.seed_rng(sliced=False)

    def seed_rng(self, sliced: bool = True) -> None:
        """Seed random numbers by the clips shown so far.

        Args:
            sliced: Whether each process takes a slice of each draw (see `rng`); otherwise all processes draw the same
                numbers.
        """
        position = (int(os.environ.get("PL_GLOBAL_SEED", 0)), self.clips_seen, 0)
        number = hash(position)  # hashes of integers do not depend on PYTHONHASHSEED
        rng.seed(number, *((self.global_rank, num_processes()) if sliced else ()))

    def log_held_out(self, name: str, value: Tensor) -> None:
        """Log a scalar of a validation or test batch. Its mean over the pass is plotted against the clips shown."""
        # Loggers use "step" as the x-axis.
        self.log_dict({name: value, "step": float(self.clips_seen)}, sync_dist=True)

    def on_fit_start(self) -> None:
        """Log what will be trained."""
        if self.report_done():
            return
        millions = {
            name: sum(weight.numel() for weight in child.parameters() if weight.requires_grad) / 1e6
            for name, child in self.named_children()
        }
        sizes = ", ".join(f"{name} {size:.1f} M parameters" for name, size in millions.items() if size)
        channels, bands, frames = self.transform.shape
        rank_zero_info(
            f"{type(self).__name__}: {sizes}; spectrograms of {channels} x {bands} bands x {frames} frames "
            f"({self.transform.seconds:.2f} s); batch {self.batch_size}{self._split_note()}, {self.kimg:g} of "
            f"{self.total_kimg:g} kimg"
        )

    def report_done(self) -> bool:
        """Return whether training has ended, and log a message if so."""
        if self.ended:
            why = "it was stopped early" if self.stopped else f"all {self.total_kimg:g} kimg have been trained"
            rank_zero_info(f"This run is already done at {self.kimg:g} kimg: {why}.")
        return self.ended

    def _split_note(self) -> str:
        """Return a note on how the batch is split among processes."""
        num = num_processes()
        return f" ({self.batch_size // num} in each of {num} processes)" if num > 1 else ""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the training progress. All processes must call it."""
        checkpoint["clips_seen"] = self.clips_seen
        checkpoint["stopped"] = self.stopped
        checkpoint["skipped"] = list(self._skipped)
        checkpoint["recorded"] = all_gather(self._stacked())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the progress and the values recorded since the last log.

        Raises:
            ValueError: If the checkpoint has other classes, another spectrogram, other networks or other optimisers.
        """
        trained = checkpoint["hyper_parameters"]
        for name in ("label_names", "transform"):
            if trained.get(name) != self.hparams.get(name):
                raise ValueError(
                    f"the checkpoint has another {name}: expected {self.hparams.get(name)}, got {trained.get(name)}"
                )
        configured, saved = self.state_dict(), checkpoint["state_dict"]
        for name in sorted(configured.keys() | saved.keys()):
            shapes = [tuple(state[name].shape) if name in state else "none" for state in (saved, configured)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"the checkpoint has other networks: expected {name} {shapes[1]}, got {shapes[0]}")
        check_optimizer_states(checkpoint.get("optimizer_states", []), self.configure_optimizers())
        self.clips_seen = checkpoint["clips_seen"]
        self.stopped = checkpoint.get("stopped", False) and not self.resume_stopped
        self._skipped = list(checkpoint.get("skipped", ()))
        recorded = checkpoint.get("recorded", [{}])
        # If the number of processes has changed, each process takes all values, which gives the same mean.
        own = [recorded[self.global_rank]] if len(recorded) == num_processes() else recorded
        self._recorded = {name: [value for values in own for value in values[name]] for name in own[0]}

    @staticmethod
    def clip_seeds(seed: int, num: int) -> list[int]:
        """Return `num` seeds, different for each `seed`. The i-th seed does not depend on `num`."""
        return [hash((seed, index)) for index in range(num)]

    def _log_recorded(self) -> None:
        means = self._means()
        self._recorded = {}
        now = time.monotonic()
        if self._last_log is not None:
            then, clips = self._last_log
            means["speed/clips_per_second"] = (self.clips_seen - clips) / max(now - then, 1e-9)
        self._last_log = (now, self.clips_seen)
        if bad := [name for name, value in means.items() if not math.isfinite(value)]:
            raise self._not_finite(", ".join(bad))
        self.log_by_clips(means)

    def _stacked(self) -> dict[str, Tensor]:
        """Return the recorded values, float [N] each, on the CPU. Values from a checkpoint are already there."""
        return {
            name: torch.stack([value.to(self.device) for value in values]).cpu()
            for name, values in self._recorded.items()
        }

    def _means(self) -> dict[str, float]:
        """Return the means of the recorded values over all processes, without skipped steps."""
        found = {name: values.double() for name, values in self._stacked().items()}
        if self.max_skipped:
            found = {name: values[values.isfinite()] for name, values in found.items()}
        pairs = torch.tensor([(float(values.sum()), len(values)) for values in found.values()], dtype=torch.float64)
        if num_processes() > 1:
            pairs = all_reduce_mean(pairs.to(self.device)).cpu()
        return {name: value / num for name, (value, num) in zip(found, pairs.tolist(), strict=True) if num}

    def log_by_clips(self, values: dict[str, float]) -> None:
        """Log values now, against the clips shown. Values must be equal in all processes.

        Callbacks find them in `trainer.callback_metrics`. The values of one call are also in `last_logged` until the
        next call. They are sent to the loggers directly, because Lightning would repeat them at every step until the
        next values.
        """
        self.last_logged = values
        self.log_dict(values, logger=False)
        for logger in self.loggers:
            logger.log_metrics({**values, "kimg": self.kimg}, step=self.clips_seen)
