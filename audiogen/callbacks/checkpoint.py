"""Save the training state by kimg, and the best one by a figure."""

import math
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from audiogen.atomic import PART_PATTERN, replacing
from audiogen.checksums import is_intact_zip, is_sealed_zip, seal_zip
from audiogen.untrusted import UntrustedFileError, require_stored_zip

CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_PATTERN = "kimg-*.ckpt"
BEST_CHECKPOINT = "best.ckpt"
INTERRUPTED_CHECKPOINT = "interrupted.ckpt"


class CheckpointFiles(CheckpointIO):
    """Checkpoints as files that are written beside their place and renamed, and read without running code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; one of the same name stays where that fails.

        Raises:
            OSError: Where there is no room, or the folder cannot be written.
        """
        try:
            with replacing(Path(path)) as file:
                torch.save(checkpoint, file)
                seal_zip(file)
        except (OSError, RuntimeError) as error:
            cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch hides it
            if not isinstance(cause, OSError):
                raise
            reason = f"{cause.strerror}: the checkpoint was not saved, those before it are as they were"
            raise OSError(cause.errno, reason, str(path)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; whatever is asked for, no code in it is run."""
        return read_training_state(path, map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class UnreadableError(ValueError):
    """A checkpoint that is damaged, or holds code, which is not run."""


def read_training_state(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running code in it.

    Raises:
        UnreadableError: The file is damaged, or cannot be read without running code.
    """
    try:
        require_stored_zip(Path(path))
    except UntrustedFileError as error:
        raise UnreadableError(f"{path} is not a readable checkpoint (FormatError: {error})") from error
    if is_sealed_zip(Path(path)) and not is_intact_zip(Path(path)):
        raise UnreadableError(f"{path} is not a readable checkpoint: it is damaged, its checksum does not match")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        kind, reason = type(error).__name__, str(error).split("\n")[0]
        if kind == "UnpicklingError":  # torch advises to run the code
            reason = "it is damaged, or holds code, which is not run"
        raise UnreadableError(f"{path} is not a readable checkpoint ({kind}: {reason})") from error


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint is there, matches the checksum of the whole file, and can be read by torch."""
    try:
        require_stored_zip(path)  # before it is opened: a pipe would have to be waited for
        if not is_intact_zip(path):
            return False
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # weights stay on disk
    except Exception:  # such as one of a newer release of torch
        return False
    return True


def save_state(trainer: lightning.Trainer, pl_module: Any) -> Path:
    """Save all that a training needs to go on as `checkpoints/kimg-00050.000.ckpt`, and return the path."""
    path = _place(trainer, CHECKPOINT_PATTERN.replace("*", f"{pl_module.kimg:09.3f}"))
    trainer.save_checkpoint(path, weights_only=False)  # with optimisers
    return path


def save_interrupted(trainer: lightning.Trainer, pl_module: Any) -> Path:
    """Save the state in the midst of a step as `checkpoints/interrupted.ckpt`, and return the path."""
    path = _place(trainer, INTERRUPTED_CHECKPOINT)
    trainer.save_checkpoint(path, weights_only=False)
    return path


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run directory by the clips they have seen; some may be damaged."""
    return sorted((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN), key=clips_of)


def clips_of(path: Path) -> float:
    """Return the clips that a checkpoint has seen, in thousands, by its name; of other names, nothing."""
    try:
        return float(path.stem.removeprefix("kimg-"))
    except ValueError:
        return -1.0


def _place(trainer: lightning.Trainer, name: str) -> Path:
    return Path(trainer.default_root_dir) / CHECKPOINT_FOLDER / name


class KimgCheckpoint(Checkpoint):
    """Save `checkpoints/kimg-00050.000.ckpt` in the run directory, at the end of the training, and `best.ckpt`.

    Args:
        every_kimg: Interval.
        keep: How many of the newest to keep; null keeps all.
        monitor: Logged metric that tells the best; where it is not logged, there is no `best.ckpt`.
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
        self._went_on = False

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
        best = _place(trainer, BEST_CHECKPOINT)
        if not is_whole(best):
            self.best = None
        if trainer.is_global_zero:
            for part in best.parent.glob(PART_PATTERN):  # of a run that was killed
                part.unlink(missing_ok=True)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save `best.ckpt` where the monitored metric is better than ever."""
        self._went_on = True
        value = trainer.strategy.broadcast(float(trainer.callback_metrics.get(self.monitor, math.nan)))
        if trainer.state.fn != "fit" or trainer.sanity_checking or math.isnan(value):
            return
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * value < sign * self.best[0]:
            self.best = (value, pl_module.kimg)
            trainer.save_checkpoint(_place(trainer, BEST_CHECKPOINT), weights_only=False)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where the step passed a multiple of the interval."""
        self._went_on = True
        if pl_module.crossed(self.every_kimg):
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save the last state, whatever ended the training; that of a finished run is left alone."""
        if self._went_on:
            self._save(trainer, pl_module)
        best = _place(trainer, BEST_CHECKPOINT)
        if self.best is not None and best.exists():
            for logger in trainer.loggers:
                if hasattr(logger, "log_checkpoint"):
                    logger.log_checkpoint(best, {self.monitor: self.best[0], "kimg": self.best[1]})

    def _save(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        path = save_state(trainer, pl_module)
        if trainer.is_global_zero and self.keep:
            older = [each for each in checkpoints(path.parent.parent) if clips_of(each) <= clips_of(path)]
            for old in older[: -self.keep]:  # newer ones are damaged, and not counted
                old.unlink(missing_ok=True)
