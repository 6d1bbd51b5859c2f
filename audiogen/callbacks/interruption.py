"""Let a training be stopped at any moment and go on where it was: part of every run of the command line."""

import os
import time
from pathlib import Path
from typing import Any

import lightning
from filelock import FileLock, Timeout
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from audiogen import signals
from audiogen.callbacks.checkpoint import save_state

LOCK = ".lock"
# Slurm and Lightning's launcher end all processes where one leaves with another status than 0: the first leaves last.
OTHERS_LEAVE_SECONDS = 1.0


class Interruption(lightning.Callback):
    """End at a signal, with everything saved; refuse to begin where two trainings would get in each other's way.

    A signal that comes to any process is answered by all at the end of the batch: they save, and leave with status 75
    ("run me again"). Lightning would save in the handler, where processes may be at different batches. It also tells
    where a run goes on with other data than it began with, and makes up for a validation that was cut off.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None
        self._validated = 0  # clips seen at the last validation
        self._data = ""
        self._continued = False

    def state_dict(self) -> dict[str, Any]:
        """Return what to compare with later."""
        return {"validated": self._validated, "data": self._data}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was there before."""
        self._validated, before = state_dict["validated"], state_dict["data"]
        self._continued = True
        if before != self._data:
            rank_zero_warn(
                "The data are not those that this run was trained on: files were added, removed or changed. It goes on "
                "with those that are there now, and will not be what it would have been without a stop."
            )

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Take the run directory, and look at the processes.

        Raises:
            ValueError: Where another training has the directory, it cannot be written, or the processes do not fit.
        """
        if stage != "fit":
            return
        _check_processes(trainer)
        self._data = trainer.datamodule.fingerprint  # type: ignore[attr-defined]
        if trainer.is_global_zero:
            self._lock = _take(Path(trainer.default_root_dir))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Listen, and validate where a validation was cut off.

        Raises:
            ValueError: Where processes start from different places.
        """
        same = trainer.strategy.broadcast(pl_module.clips_seen) == pl_module.clips_seen
        if trainer.strategy.reduce_boolean_decision(not same, all=False):
            raise ValueError("the processes found different checkpoints: is the run directory on a shared file system?")
        signals.expect(training=True)
        loop = trainer.fit_loop.epoch_loop
        if self._continued and self._validated != pl_module.clips_seen and loop._should_check_val_fx(_fetcher(trainer)):
            trainer.validating = True  # as Lightning does after a batch
            loop.val_loop.restarting = False
            loop.val_loop.run()
            trainer.training = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Note that this validation is done."""
        self._validated = pl_module.clips_seen

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave where a signal came to any of the processes."""
        name = signals.received()
        if not trainer.strategy.reduce_boolean_decision(bool(name), all=False) or trainer.should_stop:
            return
        path = save_state(trainer, pl_module)
        for logger in trainer.loggers:
            if hasattr(logger, "mark_interrupted"):
                logger.mark_interrupted()
        rank_zero_info(
            f"Stopped by {name or 'a signal to another process'} at {pl_module.kimg:g} kimg, saved as {path}. The same "
            "command goes on from there."
        )
        trainer.strategy.barrier("leaving")
        if not trainer.is_global_zero:
            raise SystemExit(0)
        if trainer.world_size > 1:
            time.sleep(OTHERS_LEAVE_SECONDS)
        raise SystemExit(signals.EXIT_AGAIN)

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Listen no more, and leave the run directory."""
        self._release()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Listen no more: what was asked for has come."""
        signals.expect(training=False)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave the run directory."""
        self._release()

    def _release(self) -> None:
        signals.expect(training=False)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _fetcher(trainer: lightning.Trainer) -> Any:
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return fetcher


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


def _take(root: Path) -> FileLock:
    """Hold a run directory; the system lets go of it where the process ends, however that is.

    Raises:
        ValueError: Where another process has it, or it cannot be written.
    """
    lock = FileLock(root / LOCK, timeout=0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ValueError(f"another training is running in {root}: name another folder, or wait for its end") from None
    except OSError as error:
        raise ValueError(f"the run directory {root} cannot be written: {error.strerror}") from error
    return lock
