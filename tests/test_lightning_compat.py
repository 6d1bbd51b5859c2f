"""Private names of Lightning still do what `lightning_compat` needs, and nothing else in the package uses any."""

import re
from pathlib import Path

import lightning
import pytest
import wandb
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from audiogen.lightning_compat import (
    DDP_NAMES,
    ddp_is,
    leave_signals_alone,
    multiprocessing_start_method,
    wandb_has_begun,
    wandb_settings,
)
from audiogen.strategy import ManualAllReduce

PRIVATE = re.compile(r"\b(trainer|fit_loop|epoch_loop|val_loop|launcher|logger|strategy)\._[a-z]|import _[A-Z]")


@pytest.mark.parametrize("path", sorted(Path("audiogen").rglob("*.py")), ids=str)
def test_private_names_of_lightning_stay_in_one_module(path: Path) -> None:
    if path.name != "lightning_compat.py":
        assert PRIVATE.findall(path.read_text()) == []


def test_private_names_exist() -> None:
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert callable(trainer._signal_connector.register_signal_handlers)
    assert callable(trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor)
    assert callable(trainer.fit_loop.epoch_loop._should_check_val_fx)
    assert hasattr(trainer.fit_loop, "_data_fetcher")
    assert hasattr(trainer._accelerator_connector, "cluster_environment")
    assert all(callable(getattr(LightningCLI, name)) for name in ("_parse_ckpt_path", "_parser"))


def test_signals_are_left_alone() -> None:
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    leave_signals_alone(trainer)
    trainer._signal_connector.register_signal_handlers()
    assert trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor() is None


def test_ddp_names_another_strategy_only_within_the_context() -> None:
    with ddp_is(ManualAllReduce):
        trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, barebones=False)
        assert isinstance(trainer.strategy, ManualAllReduce)
        chosen = lightning.Trainer(accelerator="cpu", devices=2, logger=False)
        assert isinstance(chosen.strategy, ManualAllReduce)
    after = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    assert type(after.strategy) is DDPStrategy
    assert all(StrategyRegistry[name]["strategy"] is DDPStrategy for name in DDP_NAMES)


@pytest.mark.parametrize(("strategy", "method"), [("ddp", None), ("ddp_spawn", "spawn"), ("ddp_fork", "fork")])
def test_start_method_of_processes(strategy: str, method: str | None) -> None:
    trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)
    assert multiprocessing_start_method(trainer) == method


def test_settings_of_a_wandb_logger_can_change_before_it_begins(tmp_path: Path) -> None:
    logger = WandbLogger(project="x", save_dir=tmp_path, mode="disabled")
    assert not wandb_has_begun(logger)
    wandb_settings(logger)["id"] = "chosen"
    assert logger.experiment is not None
    assert wandb_has_begun(logger)
    wandb.finish()
