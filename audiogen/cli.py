"""The training command line: links, defaults, the run directory and its saved config."""

import logging
import shlex
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from filelock import FileLock, Timeout
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from audiogen.atomic import write_text
from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.callbacks.evaluation import PeriodicEvaluation
from audiogen.callbacks.interruption import Interruption
from audiogen.callbacks.metrics_csv import MetricsCSV
from audiogen.callbacks.mode_collapse import EVENTS
from audiogen.callbacks.progress import KimgProgress
from audiogen.callbacks.samples import SAMPLE_FOLDER
from audiogen.callbacks.wandb_logger import KimgWandbLogger
from audiogen.capabilities import Converts, Samples
from audiogen.checkpoint_io import (
    CHECKPOINT_FOLDER,
    CHECKPOINT_PATTERN,
    CONFIG_NAME,
    CheckpointFiles,
    newest_checkpoint,
    read,
)
from audiogen.data.module import SpectrogramData
from audiogen.home import expand_argument, expand_in_configs
from audiogen.lightning_compat import CompatibleCLI, ddp_is, leave_signals_alone, multiprocessing_start_method
from audiogen.models.kimg import KimgModule
from audiogen.provenance import is_own, signed
from audiogen.resources import with_config_paths
from audiogen.run_settings import CONFIG_END, STATE_KEY, differences
from audiogen.strategy import ManualAllReduce
from audiogen.terminal import escape_messages
from audiogen.trainer_flags import check_flags, shorten

IGNORED_WARNINGS = (
    r".*does not have many workers.*",  # clips are memory-mapped: workers would only copy them
    r".*Total length of `list` across ranks is zero.*",  # data without a validation split
    r".*dataloader is not resumable.*",  # ours is: the stream is entered by position
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",  # what is logged is the same in all processes
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*LightningCLI's args parameter is intended.*",  # paths in them are expanded
    r".*configure_optimizers` returned `None`.*",  # each pair of style transfer has its own optimiser
    r".*no `validation_step`. Skipping val loop.*",
    r".*module\(s\) in eval mode at the start of training.*",  # the averaged generator always is
)
LOCK_NAME = ".lock"
IGNORED_MESSAGES = ("💡", "TPU available")


class SaveConfig(SaveConfigCallback):
    """Write the resolved config into the run directory, independently of loggers."""

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Write nothing yet: the checkpoint may turn out not to fit."""

    @property
    def state_key(self) -> str:
        """Name of the settings in a checkpoint."""
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, so that a checkpoint has them even if config.yaml is lost."""
        return {"settings": _settings(self.parser, self.config)}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write config.yaml, now that the checkpoint fits."""
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, "fit")

    def save_config(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Write config.yaml; a resumed run replaces it."""
        text = _settings(self.parser, self.config)
        write_text(Path(trainer.default_root_dir) / CONFIG_NAME, signed(text))
        for logger in trainer.loggers:
            if isinstance(logger, KimgWandbLogger):
                logger.log_config(yaml.safe_load(text))


class AudiogenCLI(CompatibleCLI):
    """LightningCLI with one data module, any model, and a run directory: `--trainer.default_root_dir`."""

    def __init__(self, args: list[str] | None = None, run: bool = True) -> None:
        self._lock: FileLock | None = None
        self._goes_on = False
        self._trial: tempfile.TemporaryDirectory | None = None
        self._num_trial_batches = 0
        try:
            self._run(args, run)
        finally:
            if self._trial is not None:
                self._trial.cleanup()
            if self._lock is not None:
                self._lock.release()

    def _run(self, args: list[str] | None, run: bool) -> None:
        super().__init__(
            model_class=KimgModule,
            datamodule_class=SpectrogramData,
            subclass_mode_model=True,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={"prog": "python -m audiogen", "exit_on_error": False}
            | {command: {"exit_on_error": False} for command in self.subcommands()},
            args=args,
            run=run,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the Trainer's commands that the models implement."""
        skipped = {"model", "dataloaders", "datamodule"}
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": skipped,
            "test": skipped,
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Pass the definition of the data to the model, so that every checkpoint contains it."""
        parser.link_arguments("data.transform", "model.init_args.transform")
        parser.link_arguments("data.batch_size", "model.init_args.batch_size")
        parser.add_lightning_class_args(KimgProgress, "progress")
        parser.add_lightning_class_args(KimgCheckpoint, "checkpoint")
        # Class names are only known after reading the data.
        parser.link_arguments("data.label_names", "model.init_args.label_names", apply_on="instantiate")
        parser.set_defaults(
            {
                "trainer.default_root_dir": "runs/default",
                "trainer.logger": False,
                "trainer.max_epochs": -1,  # the stream has no end: model.total_kimg ends the training
                "trainer.log_every_n_steps": 1,  # models decide when to log
                "trainer.num_sanity_val_steps": 0,
                "trainer.enable_model_summary": False,
                "trainer.use_distributed_sampler": False,  # the stream already gives each rank its slice
            }
        )

    def before_instantiate_classes(self) -> None:
        """Determine the run directory and the checkpoint to start from, before reading the data."""
        if self.subcommand is None:
            return
        config = self.config[self.subcommand]
        check_flags(config.trainer, self.subcommand)
        self._num_trial_batches = shorten(config.trainer, config.model.init_args, config.data.batch_size)
        if self._num_trial_batches:
            self._trial = tempfile.TemporaryDirectory(prefix="audiogen-")
            config.trainer.default_root_dir = self._trial.name
        root = Path(config.trainer.default_root_dir)
        for logger in _as_list(config.trainer.logger):
            if getattr(logger, "init_args", None) and logger.init_args.get("save_dir") == ".":
                logger.init_args.save_dir = str(root)
        training = self.subcommand == "fit"
        if training and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            self._lock = _lock(root)
            _refuse_links(root)
        named, newest = config.get("ckpt_path"), newest_checkpoint(root)
        if training and newest is not None and _resumes_itself(root, named):
            named = None
        if training:
            differ = differences(root, newest, _settings(self.subcommand_parser(), config))
            self._goes_on = newest is None or bool(differ)
            if newest is not None and named is None and differ:
                raise ValueError(
                    f"{root} contains a run with other settings ({differ}): continue it with the new ones by "
                    "--ckpt_path last, or choose another folder with --trainer.default_root_dir DIR"
                )
        config.ckpt_path = _start(named, newest, root, training)

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        """Add what all runs have: checked checkpoints, handling of signals, and the table of metrics."""
        keys, flags = self.subcommand_parser().callback_keys, self.subcommand_config().trainer
        for key, flag in (("progress", "enable_progress_bar"), ("checkpoint", "enable_checkpointing")):
            if flags[flag] is False and key in keys:
                keys.remove(key)
        with ddp_is(ManualAllReduce):
            trainer = super().instantiate_trainer(**kwargs)
        _refuse_spawned_processes(trainer)
        trainer.strategy.checkpoint_io = CheckpointFiles()
        leave_signals_alone(trainer)
        # Evaluations set the validation interval, which other callbacks read in their setup.
        trainer.callbacks.sort(key=lambda callback: not isinstance(callback, PeriodicEvaluation))  # type: ignore[attr-defined]
        if self.subcommand == "fit":
            trainer.callbacks.append(Interruption())  # type: ignore[attr-defined]
            trainer.loggers = [*trainer.loggers, MetricsCSV(trainer.default_root_dir)]
        return trainer

    def before_fit(self) -> None:
        """Tell the model whether to continue after a callback stopped it: only with other settings."""
        self.model.resume_stopped = self._goes_on  # type: ignore[assignment]

    def after_fit(self) -> None:
        """Report where the results are, and what to do next."""
        root = Path(self.trainer.default_root_dir)
        if self._trial is not None:
            rank_zero_info(f"fast_dev_run: {self._num_trial_batches} batches were trained. Nothing was kept.")
            return
        newest = newest_checkpoint(root)
        if newest is None or not self.trainer.is_global_zero:
            return
        lines = [f"Done: {self.model.kimg:g} kimg. The run is in {root}:"]
        results = {
            "pictures and sounds": root / SAMPLE_FOLDER,
            "metrics": root / "metrics.csv",
            "events": root / EVENTS,
            "settings": root / CONFIG_NAME,
            "checkpoints": root / CHECKPOINT_FOLDER,
        }
        lines += [f"  {what:<20} {path}" for what, path in results.items() if path.exists()]
        lines.append(f"View them on one page:\n  {_command('report', str(root))}")
        if isinstance(self.model, Converts):
            names = [self.model.label_names[index] for index in self.model.targets]
            more = ["convert", str(newest), "in.wav", "--target", names[-1], "--out", "out.wav"]
            lines.append(f"Convert sounds:\n  {_command(*more)}")
        if isinstance(self.model, Samples):
            more = ["generate", str(newest), "--num", "8", "--out", str(root / "more")]
            lines.append(f"Make more sounds:\n  {_command(*more)}")
        rank_zero_info("\n".join(lines))


def main(args: list[str] | None = None) -> None:
    """Run fit, validate or test.

    Args:
        args: Command line arguments from the command on; those of the process by default. Shipped configs may be named.
    """
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: not record.getMessage().startswith(IGNORED_MESSAGES))
    # A saturated discriminator has gradients of 1e-40 (denormals), which made convolutions twenty times slower.
    torch.set_flush_denormal(True)
    torch.backends.cudnn.allow_tf32 = False  # the penalties need the precision of float32
    expand_in_configs()
    escape_messages()
    args = with_config_paths([expand_argument(arg) for arg in (sys.argv[1:] if args is None else args)])
    try:
        AudiogenCLI(None if args == sys.argv[1:] else args)
    except MisconfigurationException as error:  # a user error, detected by Lightning
        raise ValueError(str(error)) from error


def _command(*args: str) -> str:
    """Return a command line of this package that can be copied."""
    python = Path(sys.executable)
    here = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return shlex.join([str(here), "-m", "audiogen", *args])


def _resumes_itself(root: Path, ckpt_path: str | None) -> bool:
    """Return whether the named checkpoint is only where a run with its own checkpoints once started."""
    if ckpt_path in ("last", None):
        return False
    path, own = Path(ckpt_path).resolve(), root.resolve()
    return path != own and path.parent != own / CHECKPOINT_FOLDER


def _start(ckpt_path: str | None, newest: Path | None, root: Path, training: bool) -> str | None:
    """Return the checkpoint to start from, or None for the beginning.

    Args:
        ckpt_path: The user's choice: a checkpoint, a run directory, "last" or None.
        newest: Newest checkpoint of the run directory.
        root: The run directory.
        training: Whether to train. Only a training may start without a checkpoint.

    Raises:
        ValueError: If there is no checkpoint to start from, or the run directory contains later ones.
    """
    if ckpt_path in ("last", None) and newest is None and not training:
        raise ValueError(f"no checkpoint in {root}: name one with --ckpt_path")
    if training and newest is None and any((root / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN)):
        raise ValueError(
            f"all checkpoints in {root / CHECKPOINT_FOLDER} are damaged: restore one from a backup, or delete them to "
            "start from scratch"
        )
    start = newest if ckpt_path in ("last", None) else Path(ckpt_path)
    if start is None:
        if ckpt_path:
            rank_zero_info("Starting from scratch: there is no checkpoint yet")
        return None
    if start.is_dir():
        start = newest_checkpoint(start) or start
    read(start)
    if training and newest is not None and start.resolve() != newest.resolve():
        raise ValueError(
            f"{root} already contains {newest.name}: to continue from another checkpoint, choose another run directory "
            "with --trainer.default_root_dir DIR"
        )
    rank_zero_info(f"Starting from {start}")
    return str(start)


def _lock(root: Path) -> FileLock:
    """Lock a run directory. The operating system releases the lock when the process ends.

    Raises:
        ValueError: If another process holds the lock, or the directory cannot be written.
    """
    lock = FileLock(root / LOCK_NAME, timeout=0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            lock.acquire()
    except Timeout:
        raise ValueError(
            f"another training is running in {root}: wait for its end or choose another folder. If there is none, "
            f"delete {root / LOCK_NAME}: some network file systems keep the lock of a killed process"
        ) from None
    except OSError as error:
        raise ValueError(f"the run directory {root} cannot be written: {error.strerror}") from error
    return lock


def _refuse_links(root: Path) -> None:
    """Refuse to continue a run of somebody else whose folders are links, which could point anywhere.

    Raises:
        ValueError: If a folder is a link.
    """
    if not (root / CONFIG_NAME).exists() or is_own(root / CONFIG_NAME):
        return
    for name in (CHECKPOINT_FOLDER, SAMPLE_FOLDER, f"{SAMPLE_FOLDER}/real"):
        if (root / name).is_symlink():
            raise ValueError(
                f"{root / name} is a link, and {root} may come from somebody else: remove the link, or choose another "
                "folder with --trainer.default_root_dir DIR"
            )


def _settings(parser: LightningArgumentParser, config: Any) -> str:
    """Return a resolved config as YAML, without the checkpoint the run started from."""
    config = config.clone()
    config.ckpt_path = None
    return parser.dump(config, skip_none=False) + CONFIG_END


def _refuse_spawned_processes(trainer: lightning.Trainer) -> None:
    """Refuse strategies that copy the objects of this process to others.

    Raises:
        ValueError: If the strategy is ddp_spawn, ddp_fork or ddp_notebook.
    """
    method = multiprocessing_start_method(trainer)
    if method is not None:
        raise ValueError(
            f"--trainer.strategy ddp_{method} copies the objects of one process to the others, which is not supported: "
            "use --trainer.strategy ddp, which runs the same command in each process"
        )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
