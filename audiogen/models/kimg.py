"""What every model of the package shares: progress in clips, random state by position, averaged logging."""

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
    training ends, is logged and is saved by them. Random state is a function of the seed and the clips shown: a
    continued run draws the same numbers as one that was never stopped.

    Processes share each batch. Gradients are averaged over them in `update`, once for each optimiser step, whatever
    backward passes there were before.

    A subclass draws by `audiogen.rng`, calls `record` with the scalars of each step, `update` for each optimiser
    step, and `count_clips` at the end of its `training_step`.

    Args:
        transform: The spectrogram definition.
        label_names: Class names in index order, empty without classes.
        batch_size: Clips per step over all processes.
        total_kimg: Where training ends.
        log_every_kimg: How often the means of the recorded values are logged.

    Attributes:
        scalars: Descriptions of the logged scalars.
        averaged: Names of the submodules that hold averaged weights, which make the clips.
        mid_step: Whether a step is under way: one network may be updated and not the other, and logs may be missing.
        stopped: Whether a callback ended the training before all clips were shown; a checkpoint knows it.
        goes_on: Whether a continued training goes on where one had been stopped so.
        max_skipped: How many steps in a row may be skipped because a gradient is NaN or infinite, before that ends the
            training; 0 ends it at once.
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
    goes_on: bool = False

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
        self._timed: tuple[float, int] | None = None  # when was logged last, and the clips seen then
        self._batch: Any = None  # of this step
        self._kept: dict[str, Tensor] = {}  # as they were before this step, where steps may be skipped
        self._skipped: list[int] = []  # clips shown before each step of the last row of skipped ones

    @property
    def kimg(self) -> float:
        """Thousands of real clips shown so far, over all processes."""
        return self.clips_seen / 1000

    def metric_names(self) -> set[str] | None:
        """Return the names of all metrics that training and validation log; None where they are not known before."""
        return None

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.stopped or self.clips_seen >= self.total_kimg * 1000

    def crossed(self, interval_kimg: float) -> bool:
        """Tell whether the step just counted passed a multiple of an interval."""
        interval = interval_kimg * 1000
        return self.clips_seen // interval > (self.clips_seen - self.batch_size) // interval

    def record(self, name: str, value: Tensor) -> None:
        """Add a scalar to the mean that is logged next under `name`; it stays on its device until then."""
        self._recorded.setdefault(name, []).append(value.detach())

    def update(self, optimizer: Any, name: str, *networks: nn.Module) -> None:
        """Take an optimiser step with the mean of all processes' gradients, record its norm, and clear them.

        A gradient that is not finite changes nothing: the step is skipped, where `max_skipped` allows it.

        Args:
            optimizer: Of the networks.
            name: For the log and for messages.
            networks: What was differentiated.

        Raises:
            FloatingPointError: Where the gradient or the new weights are NaN or infinite.
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
        """Undo what a step did that is skipped, and tell.

        Raises:
            FloatingPointError: Where too many were.
        """
        if self._skipped and self._skipped[-1] < self.clips_seen - self.batch_size:
            self._skipped = []
        if self.clips_seen not in self._skipped:  # several networks of one step count once
            self._skipped.append(self.clips_seen)
        error = self._not_finite(f"the gradient of {name}")
        if len(self._skipped) > self.max_skipped:
            raise error
        rank_zero_info(f"Skipped: {error}")
        with torch.no_grad():
            for place, buffer in self.named_buffers():  # such as the running means of batch norms
                buffer.copy_(self._kept[place])

    def _not_finite(self, what: str) -> FloatingPointError:
        """Return what to raise or to tell where something is NaN or infinite."""
        spec = getattr(self._batch, "spec", None)
        bad = 0 if spec is None else int((~spec.flatten(1).isfinite()).any(dim=1).sum())
        if bad:
            why = f"The batch has NaN or infinite values in {bad} of its clips."
        else:
            why = "The same settings will fail again. Lower the learning rate, then resume with --ckpt_path last."
        return FloatingPointError(f"{what} became NaN or infinite at {self.kimg:g} kimg. {why}")

    def count_clips(self) -> None:
        """Count one step's clips, log what is due and end the run when all clips have been shown."""
        self.clips_seen += self.batch_size
        if self.ended or self.crossed(self.log_every_kimg):
            self._log_recorded()
        if self.ended:
            self.trainer.should_stop = True
        self.mid_step = False

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Seed all random numbers of the step; end at once where a run that has ended is continued."""
        if self.ended:
            self.trainer.should_stop = True
            return -1
        self.mid_step = True
        self.seed_draws()
        self._batch = batch
        if self.max_skipped:
            self._kept = {name: buffer.clone() for name, buffer in self.named_buffers()}
        return None

    def on_validation_epoch_start(self) -> None:
        """Seed what validation draws: each process has whole batches, of which there are no shares."""
        self.seed_draws(shared=False)

    def seed_draws(self, shared: bool = True) -> None:
        """Seed random numbers by the clips shown, of which processes take shares, or have all the same."""
        position = (int(os.environ.get("PL_GLOBAL_SEED", 0)), self.clips_seen, 0)
        number = hash(position)  # hashes of integers do not depend on PYTHONHASHSEED
        rng.seed(number, *((self.global_rank, num_processes()) if shared else ()))

    def log_held_out(self, name: str, value: Tensor) -> None:
        """Log a scalar of a validation or test batch; its mean over the pass stands against the clips shown."""
        # Lightning takes "step" as the x-axis of the loggers.
        self.log_dict({name: value, "step": float(self.clips_seen)}, sync_dist=True)

    def on_fit_start(self) -> None:
        """Say what is trained."""
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
            f"({self.transform.seconds:.2f} s); batch {self.batch_size}{self._shares()}, {self.kimg:g} of "
            f"{self.total_kimg:g} kimg"
        )

    def report_done(self) -> bool:
        """Return whether nothing is left to train, and say so."""
        if self.ended:
            why = "it was stopped early" if self.stopped else f"all {self.total_kimg:g} kimg have been trained"
            rank_zero_info(f"This run is already done at {self.kimg:g} kimg: {why}.")
        return self.ended

    def _shares(self) -> str:
        """Say how the batch is shared."""
        num = num_processes()
        return f" ({self.batch_size // num} in each of {num} processes)" if num > 1 else ""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the training goes on with; all processes call it."""
        checkpoint["clips_seen"] = self.clips_seen
        checkpoint["stopped"] = self.stopped
        checkpoint["skipped"] = list(self._skipped)
        checkpoint["recorded"] = all_gather(self._stacked())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the clips shown, and what was recorded since the last log.

        Raises:
            ValueError: Where the checkpoint is of other classes, another spectrogram or other networks.
        """
        trained = checkpoint["hyper_parameters"]
        for name in ("label_names", "transform"):
            if trained.get(name) != self.hparams.get(name):
                raise ValueError(
                    f"the checkpoint has another {name}: {trained.get(name)}, not {self.hparams.get(name)}"
                )
        own, theirs = self.state_dict(), checkpoint["state_dict"]
        for name in sorted(own.keys() | theirs.keys()):
            shapes = [tuple(state[name].shape) if name in state else "none" for state in (theirs, own)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"the checkpoint has other networks: {name} is {shapes[0]}, not {shapes[1]}")
        check_optimizer_states(checkpoint.get("optimizer_states", []), self.configure_optimizers())
        self.clips_seen = checkpoint["clips_seen"]
        self.stopped = checkpoint.get("stopped", False) and not self.goes_on
        self._skipped = list(checkpoint.get("skipped", ()))
        shares = checkpoint.get("recorded", [{}])
        # Of other processes than now, each takes all: the mean is the same.
        mine = [shares[self.global_rank]] if len(shares) == num_processes() else shares
        self._recorded = {name: [value for share in mine for value in share[name]] for name in mine[0]}

    @staticmethod
    def clip_seeds(seed: int, num: int) -> list[int]:
        """Return the seeds of `num` clips, different for each seed: clip i has the same one whatever `num` is."""
        return [hash((seed, index)) for index in range(num)]

    def _log_recorded(self) -> None:
        means = self._means()
        self._recorded = {}
        now = time.monotonic()
        if self._timed is not None:
            then, clips = self._timed
            means["speed/clips_per_second"] = (self.clips_seen - clips) / max(now - then, 1e-9)
        self._timed = (now, self.clips_seen)
        if bad := [name for name, value in means.items() if not math.isfinite(value)]:
            raise self._not_finite(", ".join(bad))
        self.log_by_clips(means)

    def _stacked(self) -> dict[str, Tensor]:
        """Return what was recorded, float [N] on the processor; what a checkpoint brought comes from there."""
        return {
            name: torch.stack([value.to(self.device) for value in values]).cpu()
            for name, values in self._recorded.items()
        }

    def _means(self) -> dict[str, float]:
        """Return the means of what was recorded, over all processes; without the steps that were skipped."""
        found = {name: values.double() for name, values in self._stacked().items()}
        if self.max_skipped:
            found = {name: values[values.isfinite()] for name, values in found.items()}
        pairs = torch.tensor([(float(values.sum()), len(values)) for values in found.values()], dtype=torch.float64)
        if num_processes() > 1:
            pairs = all_reduce_mean(pairs.to(self.device)).cpu()
        return {name: value / num for name, (value, num) in zip(found, pairs.tolist(), strict=True) if num}

    def log_by_clips(self, values: dict[str, float]) -> None:
        """Log values now, the same in all processes, against the clips shown.

        Callbacks find them in `trainer.callback_metrics`.

        Those of one call, which belong together, are in `last_logged` until the next one.

        Lightning's own way to the loggers would repeat them at every step until the next ones come.
        """
        self.last_logged = values
        self.log_dict(values, logger=False)
        for logger in self.loggers:
            logger.log_metrics({**values, "kimg": self.kimg}, step=self.clips_seen)
