"""Stop a training at any moment and resume it where it was: part of every run of the command line."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from audiogen import signals
from audiogen.callbacks.checkpoint import save_interrupted, save_state
from audiogen.callbacks.metrics_csv import MetricsCSV
from audiogen.callbacks.monitors import check_monitors
from audiogen.capabilities import Trained, trained
from audiogen.lightning_compat import validate_if_due
from audiogen.scalars import Scalars, TakesDescriptions

# Slurm and Lightning's launcher end all processes where one leaves with another status than 0: the first leaves last.
OTHERS_LEAVE_SECONDS = 1.0


class Interruption(lightning.Callback):
    """End at a signal or an error, with everything saved.

    A signal to any process is answered by all of them at the end of the batch, in training and in evaluations: they
    save, and leave with status 75 ("run me again"). Lightning would save in the handler, where processes may be at
    different batches. On resuming, it reports other data and other arithmetic than before, and repeats a validation
    that was interrupted.
    """

    def __init__(self) -> None:
        self._validated = 0  # clips seen at the last validation
        self._data = ""
        self._continued = False
        self._began = False

    def state_dict(self) -> dict[str, Any]:
        """Return what to compare with later."""
        return {"validated": self._validated, "data": self._data, "arithmetic": arithmetic()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was there before, and report what has changed since."""
        self._validated, before = state_dict["validated"], state_dict["data"]
        self._continued = True
        recorded, now = state_dict.get("arithmetic", {}), arithmetic()
        if text := ", ".join(
            f"{key} {recorded[key]}, now {now[key]}" for key in now if recorded.get(key, now[key]) != now[key]
        ):
            rank_zero_warn(
                f"This run continues with other arithmetic than it was trained with ({text}). Sums are rounded "
                "differently, so its weights will not be bit-identical to those of an uninterrupted run."
            )
        if before != self._data:
            rank_zero_warn(
                "The data are not those that this run was trained on: files were added, removed or changed. It goes on "
                "with those that are there now, and will not be what it would have been without a stop."
            )

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Look at the processes and the data.

        Raises:
            ValueError: For processes that would not train together, or cannot share the batch.
        """
        model = trained(pl_module)
        if stage == "fit":
            _check_processes(trainer)
            if model.batch_size % trainer.world_size:
                raise ValueError(
                    f"batch_size {model.batch_size} is not a multiple of the {trainer.world_size} processes: set "
                    f"--data.batch_size to {-(-model.batch_size // trainer.world_size) * trainer.world_size}, say"
                )
            self._data = trainer.datamodule.fingerprint  # type: ignore[attr-defined]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on where the run was, validate where a validation was cut off, and listen.

        Raises:
            ValueError: Where processes start from different places, or a callback monitors what is never logged.
        """
        model = trained(pl_module)
        check_monitors(trainer, model)
        same = trainer.strategy.broadcast(model.clips_seen) == model.clips_seen
        if trainer.strategy.reduce_boolean_decision(not same, all=False):
            raise ValueError("the processes found different checkpoints: is the run directory on a shared file system?")
        scalars = Scalars.of([*trainer.callbacks, model])  # type: ignore[attr-defined]
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.resume_from(model.clips_seen)
            if isinstance(logger, TakesDescriptions):
                logger.describe_scalars(scalars)
        signals.expect(training=True)
        trainer.should_stop = model.ended  # as it was when that validation was cut off
        if self._continued and self._validated != model.clips_seen:
            validate_if_due(trainer)
        trainer.should_stop = False  # the loop finds out by itself, and ends as it would have

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that all is loaded that a checkpoint holds."""
        self._began = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note that this validation is done."""
        model = trained(pl_module)
        self._validated = model.clips_seen

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Answer signals."""
        model = trained(pl_module)
        leave_if_asked(trainer, model)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Answer signals that came between the last batch and the end."""
        model = trained(pl_module)
        leave_if_asked(trainer, model)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Listen no more, whatever ended the training."""
        signals.expect(training=False)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Save what an error would lose, and listen no more.

        Between two steps, the state is that of a checkpoint, and the same command continues from it. In the midst of a
        step, one network may have been updated and not the other: the state is saved as `interrupted.ckpt`, which is
        used only if it is named. With several processes nothing is saved, since the others may not take part.
        """
        model = trained(pl_module)
        signals.expect(training=False)
        if not isinstance(exception, Exception) or not self._began or trainer.world_size > 1:
            return
        where = f"An error ended the training at {model.kimg:g} kimg"
        if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
            rank_zero_info(f"{where}. Its weights are not finite, so they were not saved.")
            return
        try:
            path = _save(trainer, model, save_interrupted if model.mid_step else save_state)
        except OSError as error:  # such as a full disk, which may be the exception itself
            rank_zero_info(f"{where}. Its state could not be saved: {error}")
            return
        way = (
            f"To continue from the midst of this step: --ckpt_path {path}"
            if model.mid_step
            else "The same command resumes."
        )
        rank_zero_info(f"{where}. Its state was saved as {path}. {way}")


def _save(trainer: lightning.Trainer, model: Trained, writer: Callable[[lightning.Trainer, Any], Path]) -> Path:
    """Save the state, in an evaluation too, which is made up for later."""
    if trainer.validating:  # else Lightning would go on in its midst
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.reset()
    return writer(trainer, model)


def arithmetic() -> dict[str, str]:
    """Return what the rounding of sums depends on: the number of threads and the kind of processor."""
    kinds = [torch.backends.cpu.get_cpu_capability(), platform.machine()]
    if torch.cuda.is_available():
        kinds.append(torch.cuda.get_device_name())
    return {"threads": str(torch.get_num_threads()), "processor": " ".join(kinds)}


def _check_processes(trainer: lightning.Trainer) -> None:
    """Refuse processes that would not train together.

    Raises:
        ValueError: For strategies that split models, and where Slurm started more processes than train together.
    """
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        name = type(trainer.strategy).__name__
        raise ValueError(f"{name} splits models, and these fit on one device each: use --trainer.strategy ddp")
    started = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if started not in (1, trainer.world_size):
        raise ValueError(
            f"srun started {started} processes, and {trainer.world_size} would train together: set "
            "--trainer.devices to the tasks of a node, --trainer.num_nodes, and --trainer.strategy ddp"
        )


def leave_if_asked(trainer: lightning.Trainer, model: Trained) -> None:
    """Save and leave where a signal came to any of the processes; all call it, as often as the others.

    In an evaluation too, which is made up for when the training goes on.

    Raises:
        SystemExit: With status 75, of processes but the first with 0.
    """
    name = signals.received()
    last = trainer.validating and model.ended  # the evaluation at the end
    if not trainer.strategy.reduce_boolean_decision(bool(name), all=False) or (trainer.should_stop and not last):
        return
    signals.ignore()
    path = _save(trainer, model, save_state)
    for logger in trainer.loggers:
        if hasattr(logger, "mark_interrupted"):
            logger.mark_interrupted()
    rank_zero_info(
        f"Stopped by {name or 'a signal to another process'} at {model.kimg:g} kimg, saved as {path}. The same "
        "command goes on from there."
    )
    trainer.strategy.barrier("leaving")
    if not trainer.is_global_zero:
        raise SystemExit(0)
    if trainer.world_size > 1:
        time.sleep(OTHERS_LEAVE_SECONDS)
    raise SystemExit(signals.EXIT_AGAIN)
