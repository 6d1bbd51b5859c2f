"""Stop a training at any moment and resume it exactly: part of every run of the command line."""

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
from audiogen.callbacks.wandb_logger import KimgWandbLogger
from audiogen.capabilities import Trained, trained
from audiogen.lightning_compat import validate_if_due
from audiogen.scalars import Scalars, TakesDescriptions

# Slurm and Lightning's launcher kill all processes if one exits with a nonzero status, so the first one exits last.
OTHERS_LEAVE_SECONDS = 1.0


class Interruption(lightning.Callback):
    """Save everything and end at a signal or an error.

    After a signal to any process, all of them save at the end of the batch, in training and in evaluations, and exit
    with status 75 ("run me again"). Lightning would save in the signal handler, where processes may be at different
    batches. On resuming, changed data and changed arithmetic are reported, and an interrupted validation is repeated.
    """

    def __init__(self) -> None:
        self._validated = 0  # clips seen at the last validation
        self._data = ""
        self._continued = False
        self._began = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state to compare with on resuming."""
        return {"validated": self._validated, "data": self._data, "arithmetic": arithmetic()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, and report changes since."""
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
                "The data differ from those that this run was trained on: files were added, removed or changed. It "
                "continues with the present data, so it will not equal an uninterrupted run."
            )

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Check the processes and the data.

        Raises:
            ValueError: If the processes do not train together, or the batch is not divisible by their number.
        """
        model = trained(pl_module)
        if stage == "fit":
            _check_processes(trainer)
            if model.batch_size % trainer.world_size:
                fitting = -(-model.batch_size // trainer.world_size) * trainer.world_size
                raise ValueError(
                    f"batch_size {model.batch_size} is not divisible by the {trainer.world_size} processes: set "
                    f"--data.batch_size to, for example, {fitting}"
                )
            self._data = trainer.datamodule.fingerprint  # type: ignore[attr-defined]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Resume the table of metrics, make up for an interrupted validation, and handle signals from now on.

        Raises:
            ValueError: If processes start from different checkpoints, or a callback monitors a metric that is not
                logged.
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
        trainer.should_stop = model.ended  # as it was when that validation was interrupted
        if self._continued and self._validated != model.clips_seen:
            validate_if_due(trainer)
        trainer.should_stop = False  # the loop decides again by itself

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that the checkpoint has been loaded completely."""
        self._began = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note that this validation is complete."""
        model = trained(pl_module)
        self._validated = model.clips_seen

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the training if a signal arrived."""
        model = trained(pl_module)
        leave_if_asked(trainer, model)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """End the training if a signal arrived after the last batch."""
        model = trained(pl_module)
        leave_if_asked(trainer, model)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Restore the default handling of signals."""
        signals.expect(training=False)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Save the state after an error.

        Between two steps it is saved as an ordinary checkpoint, and the same command resumes from it. Within a step,
        one network may have been updated and not the other; then it is saved as `interrupted.ckpt`, which is used only
        if it is named. With several processes nothing is saved, because the others may be unable to take part.
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
            f"To continue from within this step: --ckpt_path {path}" if model.mid_step else "The same command resumes."
        )
        rank_zero_info(f"{where}. Its state was saved as {path}. {way}")


def _save(trainer: lightning.Trainer, model: Trained, writer: Callable[[lightning.Trainer, Any], Path]) -> Path:
    """Save the state, also within an evaluation, which is repeated on resuming."""
    if trainer.validating:  # otherwise Lightning would resume within it
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.reset()
    return writer(trainer, model)


def arithmetic() -> dict[str, str]:
    """Return what the rounding of sums depends on: the number of threads and the kind of CPU and GPU."""
    kinds = [torch.backends.cpu.get_cpu_capability(), platform.machine()]
    if torch.cuda.is_available():
        kinds.append(torch.cuda.get_device_name())
    return {"threads": str(torch.get_num_threads()), "processor": " ".join(kinds)}


def _check_processes(trainer: lightning.Trainer) -> None:
    """Refuse processes that would not train together.

    Raises:
        ValueError: If the strategy splits models, or Slurm started another number of processes than train together.
    """
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        name = type(trainer.strategy).__name__
        raise ValueError(f"{name} splits models, which is not supported: use --trainer.strategy ddp")
    started = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if started not in (1, trainer.world_size):
        raise ValueError(
            f"srun started {started} processes, but {trainer.world_size} would train together: set --trainer.devices "
            "to the tasks per node, --trainer.num_nodes, and --trainer.strategy ddp"
        )


def leave_if_asked(trainer: lightning.Trainer, model: Trained) -> None:
    """Save and exit if any process received a signal. All processes must call this equally often.

    An interrupted evaluation is repeated on resuming.

    Raises:
        SystemExit: With status 75 in the first process, and 0 in the others.
    """
    name = signals.received()
    last = trainer.validating and model.ended  # the final evaluation
    if not trainer.strategy.reduce_boolean_decision(bool(name), all=False) or (trainer.should_stop and not last):
        return
    signals.ignore()
    path = _save(trainer, model, save_state)
    for logger in trainer.loggers:
        if isinstance(logger, KimgWandbLogger):
            logger.mark_interrupted()
    rank_zero_info(
        f"Stopped by {name or 'a signal to another process'} at {model.kimg:g} kimg, saved as {path}. The same "
        "command resumes from there."
    )
    trainer.strategy.barrier("leaving")
    if not trainer.is_global_zero:
        raise SystemExit(0)
    if trainer.world_size > 1:
        time.sleep(OTHERS_LEAVE_SECONDS)
    raise SystemExit(signals.EXIT_AGAIN)
