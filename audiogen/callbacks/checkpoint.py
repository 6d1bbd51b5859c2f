"""Save the training state by kimg, and the best one by a figure."""

import math
import os
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Checkpoint

CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_PATTERN = "kimg-*.ckpt"
BEST_CHECKPOINT = "best.ckpt"


class KimgCheckpoint(Checkpoint):
    """Save `checkpoints/kimg-00050.000.ckpt` in the run directory, at the end of the training, and `best.ckpt`.

    A file is written beside its place and renamed, so that a checkpoint of the final name is always whole.

    Args:
        every_kimg: Interval.
        keep: How many of the newest to keep; null keeps all.
        monitor: Logged figure that tells the best; where it is not logged, there is no `best.ckpt`.
        mode: Whether the best is the least ("min") or the greatest ("max").
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

    @property
    def state_key(self) -> str:
        """Tell several of them in one Trainer apart."""
        return self._generate_state_key(monitor=self.monitor)

    def state_dict(self) -> dict[str, Any]:
        """Return what the best was so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Forget a best one that is not here: the run may have been continued in another directory."""
        if not self._path(trainer, 0).with_name(BEST_CHECKPOINT).exists():
            self.best = None

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save `best.ckpt` where the monitored figure is better than ever."""
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if trainer.state.fn != "fit" or trainer.sanity_checking or math.isnan(value):
            return
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * value < sign * self.best[0]:
            self.best = (value, pl_module.kimg)
            self._save(trainer, self._path(trainer, 0).with_name(BEST_CHECKPOINT))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where the step passed a multiple of the interval."""
        if pl_module.crossed(self.every_kimg):
            self._save(trainer, self._path(trainer, pl_module.kimg))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save the last state, whatever ended the training."""
        path = self._path(trainer, pl_module.kimg)
        if not path.exists():
            self._save(trainer, path)
        best = path.with_name(BEST_CHECKPOINT)
        if self.best is not None and best.exists():
            for logger in trainer.loggers:
                if hasattr(logger, "log_checkpoint"):
                    logger.log_checkpoint(best, {self.monitor: self.best[0], "kimg": self.best[1]})

    def _save(self, trainer: lightning.Trainer, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        trainer.save_checkpoint(part, weights_only=False)  # with optimisers
        if trainer.is_global_zero:
            os.replace(part, path)
            for old in sorted(path.parent.glob(CHECKPOINT_PATTERN))[: -self.keep] if self.keep else []:
                old.unlink()
        trainer.strategy.barrier("checkpoint saved")

    @staticmethod
    def _path(trainer: lightning.Trainer, kimg: float) -> Path:
        return Path(trainer.default_root_dir) / CHECKPOINT_FOLDER / CHECKPOINT_PATTERN.replace("*", f"{kimg:09.3f}")
