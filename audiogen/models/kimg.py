"""What every model of the package shares: progress in clips, random state by position, averaged logging."""

import os
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from audiogen.transforms.transform import SpectrogramTransform


class KimgModule(lightning.LightningModule):
    """A LightningModule that measures training in thousands of real clips shown (kimg).

    Lightning counts optimiser steps, which depend on the number of optimisers and on the batch size. Clips do not, so
    training ends, is logged and is saved by them. Random state is a function of the seed, the clips shown and the
    rank: a continued run draws the same numbers as one that was never stopped.

    A subclass calls `record` with the scalars of each step and `count_clips` at the end of its `training_step`.

    Args:
        transform: The spectrogram definition.
        label_names: Class names in index order, empty without classes.
        batch_size: Clips per step over all processes.
        total_kimg: Where training ends.
        log_every_kimg: How often the means of the recorded values are logged.

    Attributes:
        averaged: Names of the submodules that hold averaged weights, which make the clips.
    """

    averaged: tuple[str, ...] = ()

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

    @property
    def kimg(self) -> float:
        """Thousands of real clips shown so far, over all processes."""
        return self.clips_seen / 1000

    def crossed(self, interval_kimg: float) -> bool:
        """Tell whether the step just counted passed a multiple of an interval."""
        interval = interval_kimg * 1000
        return self.clips_seen // interval > (self.clips_seen - self.batch_size) // interval

    def record(self, name: str, value: Tensor) -> None:
        """Add a scalar to the mean that is logged next under `name`; it stays on its device until then."""
        self._recorded.setdefault(name, []).append(value.detach())

    def update(self, optimizer: Any, name: str, *networks: nn.Module) -> None:
        """Take an optimiser step with the gradients there are, record their norm under `name`, and clear them."""
        gradients = [p.grad for network in networks for p in network.parameters() if p.grad is not None]
        self.record(f"gradient_norm/{name}", nn.utils.get_total_norm(gradients))
        optimizer.step()
        optimizer.zero_grad()

    def count_clips(self) -> None:
        """Count one step's clips, log what is due and end the run when all clips have been shown."""
        self.clips_seen += self.batch_size
        finished = self.clips_seen >= self.total_kimg * 1000
        if finished or self.crossed(self.log_every_kimg):
            self._log_recorded()
        if finished:
            self.trainer.should_stop = True

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Seed all random numbers of the step; end at once where a finished run is continued."""
        if self.clips_seen >= self.total_kimg * 1000:
            self.trainer.should_stop = True
            return -1
        position = (int(os.environ.get("PL_GLOBAL_SEED", 0)), self.clips_seen, self.global_rank)
        torch.manual_seed(hash(position))  # hashes of integers do not depend on PYTHONHASHSEED
        return None

    def log_held_out(self, name: str, value: Tensor) -> None:
        """Log a scalar of a validation or test batch; its mean over the pass stands against the clips shown."""
        # Lightning takes "step" as the x-axis of the loggers.
        self.log_dict({name: value, "step": float(self.clips_seen)}, sync_dist=True)

    def on_fit_start(self) -> None:
        """Say what is trained."""
        millions = {
            name: sum(weight.numel() for weight in child.parameters() if weight.requires_grad) / 1e6
            for name, child in self.named_children()
        }
        sizes = ", ".join(f"{name} {size:.1f} M parameters" for name, size in millions.items() if size)
        channels, bands, frames = self.transform.shape
        rank_zero_info(
            f"{type(self).__name__}: {sizes}; spectrograms of {channels} x {bands} bands x {frames} frames "
            f"({self.transform.seconds:.2f} s); batch {self.batch_size}, {self.kimg:g} of {self.total_kimg:g} kimg"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the clips shown."""
        checkpoint["clips_seen"] = self.clips_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the clips shown.

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
        self.clips_seen = checkpoint["clips_seen"]

    @staticmethod
    def clip_seeds(seed: int, num: int) -> list[int]:
        """Return the seeds of `num` clips, different for each seed: clip i has the same one whatever `num` is."""
        return [hash((seed, index)) for index in range(num)]

    def _log_recorded(self) -> None:
        means = {name: torch.stack(values).mean() for name, values in self._recorded.items()}
        self._recorded = {}
        now = time.monotonic()
        if self._timed is not None:
            then, clips = self._timed
            means["speed/clips_per_second"] = torch.tensor((self.clips_seen - clips) / max(now - then, 1e-9))
        self._timed = (now, self.clips_seen)
        bad = [name for name, value in means.items() if not torch.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} became NaN or infinite before {self.kimg:.1f} kimg: lower the learning rate, or go "
                "back to the last checkpoint"
            )
        self.log_by_clips({name: float(value) for name, value in means.items()})

    def log_by_clips(self, values: dict[str, float]) -> None:
        """Log values now, against the clips shown; callbacks find them in `trainer.callback_metrics`.

        Those of one call, which belong together, are in `last_logged` until the next one.

        Lightning's own way to the loggers would repeat them at every step until the next ones come.
        """
        self.last_logged = values
        self.log_dict(values, logger=False, sync_dist=True)
        for logger in self.loggers:
            logger.log_metrics({**values, "kimg": self.kimg}, step=self.clips_seen)
