"""Save the training state by kimg, and the best one by a metric."""

import math
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Checkpoint

from audiogen.atomic import PART_PATTERN
from audiogen.callbacks.wandb_logger import KimgWandbLogger
from audiogen.capabilities import Trained, trained
from audiogen.checkpoint_io import (
    BEST_CHECKPOINT,
    CHECKPOINT_FOLDER,
    CHECKPOINT_PATTERN,
    INTERRUPTED_CHECKPOINT,
    checkpoints,
    clips_of,
    is_whole,
)


def save_state(trainer: lightning.Trainer, model: Trained) -> Path:
    """Save the complete training state as `checkpoints/kimg-00050.000.ckpt`, and return the path."""
    path = _path(trainer, CHECKPOINT_PATTERN.replace("*", f"{model.kimg:09.3f}"))
    trainer.save_checkpoint(path, weights_only=False)  # with optimisers
    return path


def save_interrupted(trainer: lightning.Trainer, model: Trained) -> Path:
    """Save the state within a step as `checkpoints/interrupted.ckpt`, and return the path."""
    path = _path(trainer, INTERRUPTED_CHECKPOINT)
    trainer.save_checkpoint(path, weights_only=False)
    return path


def _path(trainer: lightning.Trainer, name: str) -> Path:
    return Path(trainer.default_root_dir) / CHECKPOINT_FOLDER / name


class KimgCheckpoint(Checkpoint):
    """Save `checkpoints/kimg-00050.000.ckpt` at an interval and at the end of the training, and `best.ckpt`.

    Args:
        every_kimg: Interval in thousands of clips shown.
        keep: Number of newest checkpoints to keep; null keeps all.
        monitor: Logged metric that defines the best; there is no `best.ckpt` if it is not logged.
        mode: Whether the lowest ("min") or the highest ("max") value is best.

    Raises:
        ValueError: If `every_kimg` is not positive or `keep` is less than 1.
    """

    def __init__(
        self,
        every_kimg: float = 10.0,
        keep: int | None = None,
        monitor: str = "fad",
        mode: Literal["min", "max"] = "min",
    ) -> None:
        if every_kimg <= 0 or (keep is not None and keep < 1):
            raise ValueError(f"every_kimg must be > 0 and keep >= 1 or null, got {every_kimg} and {keep}")
        self.every_kimg = every_kimg
        self.keep = keep
        self.monitor, self.mode = monitor, mode
        self.best: tuple[float, float] | None = None  # value and kimg
        self._trained = False

    @property
    def state_key(self) -> str:
        """Name that distinguishes several checkpoint callbacks."""
        return f"{type(self).__qualname__}({self.monitor!r})"

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Reset the best value if `best.ckpt` is missing: the run may have been continued in another directory."""
        best = _path(trainer, BEST_CHECKPOINT)
        if not is_whole(best):
            self.best = None
        if trainer.is_global_zero:
            for part in best.parent.glob(PART_PATTERN):  # left by a killed run
                part.unlink(missing_ok=True)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save `best.ckpt` if the monitored metric has improved."""
        model = trained(pl_module)
        self._trained = True
        value = trainer.strategy.broadcast(float(trainer.callback_metrics.get(self.monitor, math.nan)))
        if trainer.state.fn != "fit" or trainer.sanity_checking or math.isnan(value):
            return
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * value < sign * self.best[0]:
            self.best = (value, model.kimg)
            trainer.save_checkpoint(_path(trainer, BEST_CHECKPOINT), weights_only=False)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if the step passed a multiple of the interval."""
        model = trained(pl_module)
        self._trained = True
        if model.crossed(self.every_kimg):
            self._save(trainer, model)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the final state, unless a finished run was started again."""
        model = trained(pl_module)
        if self._trained:
            self._save(trainer, model)
        best = _path(trainer, BEST_CHECKPOINT)
        if self.best is not None and best.exists():
            for logger in trainer.loggers:
                if isinstance(logger, KimgWandbLogger):
                    logger.log_checkpoint(best, {self.monitor: self.best[0], "kimg": self.best[1]})

    def _save(self, trainer: lightning.Trainer, model: Trained) -> None:
        path = save_state(trainer, model)
        if trainer.is_global_zero and self.keep:
            older = [each for each in checkpoints(path.parent.parent) if clips_of(each) <= clips_of(path)]
            for old in older[: -self.keep]:  # newer ones are damaged, and not counted
                old.unlink(missing_ok=True)
