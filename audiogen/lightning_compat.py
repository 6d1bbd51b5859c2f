"""Every private name of Lightning that the package uses, each with the reason why the public API is not enough.

pyproject.toml caps lightning below the next minor release. `tests/test_lightning_compat.py` fails first when a name
changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.strategies import Strategy, StrategyRegistry
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher

DDP_NAMES = ("ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


class CompatibleCLI(LightningCLI):
    """LightningCLI in which flags override a checkpoint's hyperparameters."""

    def _parse_ckpt_path(self) -> None:
        """Keep the flags. Lightning would override them with the hyperparameters of the file in `--ckpt_path`."""

    def subcommand_parser(self) -> LightningArgumentParser:
        """Return the parser of the running subcommand; there is no public accessor."""
        return self._parser(self.subcommand)

    def subcommand_config(self) -> Any:
        """Return the config of the running subcommand; there is no public accessor."""
        return self.config if self.subcommand is None else self.config[self.subcommand]


@contextmanager
def ddp_is(strategy: type[Strategy]) -> Iterator[None]:
    """Let the name "ddp" mean another strategy, also where the Trainer chooses it for several devices.

    The registry has no way to shadow a name for a single Trainer, so its entries are replaced and put back.
    """
    before = {name: dict(StrategyRegistry[name]) for name in DDP_NAMES}
    for name in DDP_NAMES:
        StrategyRegistry.register(name, strategy, override=True)
    try:
        yield
    finally:
        for name, entry in before.items():
            StrategyRegistry[name] = entry


def leave_signals_alone(trainer: lightning.Trainer) -> None:
    """Keep Lightning from handling signals, which `audiogen.signals` does.

    Lightning would save within the handler, where processes may be at different steps. It would also broadcast a flag
    before each batch, which makes a GPU wait. Requeueing is left to the Slurm batch file.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False


def multiprocessing_start_method(trainer: lightning.Trainer) -> str | None:
    """Return how a strategy such as ddp_spawn starts processes, or None for one that runs the command again."""
    launcher = trainer.strategy.launcher
    return launcher._start_method if isinstance(launcher, _MultiProcessingLauncher) else None


def validate_if_due(trainer: lightning.Trainer) -> None:
    """Run the validation that is due after the current batch, as the training loop does after each batch.

    A run that was stopped within a validation makes up for it before its next batch. Lightning decides only after one.
    """
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None
    if loop._should_check_val_fx(fetcher):
        trainer.validating = True
        loop.val_loop.restarting = False
        loop.val_loop.run()
        trainer.training = True


def wandb_settings(logger: WandbLogger) -> dict[str, Any]:
    """Return the arguments of `wandb.init`, which may be changed before the run begins."""
    return logger._wandb_init


def wandb_has_begun(logger: WandbLogger) -> bool:
    """Return whether the logger's run has begun; reading `logger.experiment` would begin it."""
    return logger._experiment is not None
