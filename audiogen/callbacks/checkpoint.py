"""Save the training state by kimg."""

import os
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint

CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_PATTERN = "kimg-*.ckpt"


class KimgCheckpoint(Checkpoint):
    """Save `checkpoints/kimg-00050.000.ckpt` in the run directory, and at the end of the training.

    A file is written beside its place and renamed, so that a checkpoint of the final name is always whole.

    Args:
        every_kimg: Interval.
        keep: How many of the newest to keep; null keeps all.
    """

    def __init__(self, every_kimg: float = 10.0, keep: int | None = None) -> None:
        if every_kimg <= 0 or (keep is not None and keep < 1):
            raise ValueError(f"every_kimg must be > 0 and keep >= 1 or null, got {every_kimg} and {keep}")
        self.every_kimg = every_kimg
        self.keep = keep

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where the step passed a multiple of the interval."""
        if pl_module.crossed(self.every_kimg):
            self._save(trainer, pl_module.kimg)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save the last state, whatever ended the training."""
        if not self._path(trainer, pl_module.kimg).exists():
            self._save(trainer, pl_module.kimg)

    def _save(self, trainer: lightning.Trainer, kimg: float) -> None:
        path = self._path(trainer, kimg)
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
