"""Watch the logged metrics for mode collapse: warn, stop, and restore the best averaged generator."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_info

from audiogen.atomic import append_text, write_text
from audiogen.callbacks.wandb_logger import KimgWandbLogger
from audiogen.capabilities import Averages, Trained, require, trained
from audiogen.checkpoint_io import BEST_CHECKPOINT, CHECKPOINT_FOLDER, UnreadableError, read_training_state
from audiogen.damaged import set_aside
from audiogen.metrics.collapse import RULES, Alarm, Rule, Watch
from audiogen.untrusted import read_inside

EVENTS = "events.jsonl"
MAX_BYTES = 1 << 26
# Metrics that the model's validation pass logs.
VALIDATED = ("val/logits_real", "val/logits_train", "val/logits_fake", "path_length/mean")


class ModeCollapse(lightning.Callback):
    """Apply rules to the logged metrics. Events are printed, appended to `events.jsonl` and sent to W&B as alerts.

    If a stopping rule fires, the averaged generator with the best `fad` is restored (from `best.ckpt`, which
    `KimgCheckpoint` saves). The last checkpoint, pictures and sounds are made with it, and the training ends.

    Args:
        rules: The rules; by default the calibrated ones.
        warm_up_kimg: No rule is applied before this many thousands of clips.
        stop: Whether rules may stop the training; otherwise they only warn.
    """

    def __init__(self, rules: Sequence[Rule] | None = None, warm_up_kimg: float = 2.0, stop: bool = True) -> None:
        if warm_up_kimg < 0:
            raise ValueError(f"warm_up_kimg must be >= 0, got {warm_up_kimg}")
        self.watch = Watch(RULES if rules is None else rules, warm_up_kimg)
        self.stop = stop

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Refuse a training without validation, in which most rules could never fire.

        Raises:
            ValueError: If validation is switched off.
        """
        if stage == "fit" and trainer.limit_val_batches == 0:
            raise ValueError("--trainer.limit_val_batches 0 would switch off ModeCollapse: remove the callback instead")

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the rules."""
        return self.watch.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.watch.load_state(state_dict)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Drop events later than the checkpoint that the run resumes from."""
        model = trained(pl_module)
        path = Path(trainer.default_root_dir) / EVENTS
        if trainer.is_global_zero and path.exists():
            kept = [line for line in _events(path) if json.loads(line)["kimg"] <= model.kimg]
            write_text(path, "".join(f"{line}\n" for line in kept))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Restore the best generator: after the last evaluation, before the last checkpoint, pictures and sounds."""
        model = trained(pl_module)
        if model.stopped:
            outcome = restore_best(trainer, model)
            rank_zero_info(f"Stopped at {model.kimg:.1f} kimg. {outcome}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Apply the rules to the latest means of the training."""
        model = trained(pl_module)
        if model.crossed(model.log_every_kimg):
            self._apply_rules(trainer, model, model.last_logged)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Apply the rules to the metrics of an evaluation."""
        model = trained(pl_module)
        if trainer.state.fn == "fit":
            logged = trainer.callback_metrics
            validated = {name: float(logged[name]) for name in VALIDATED if name in logged}
            self._apply_rules(trainer, model, model.last_logged | validated)

    def _apply_rules(self, trainer: lightning.Trainer, model: Trained, scores: dict[str, float]) -> None:
        alarms = self.watch.update(model.kimg, scores)
        alarms = [alarm._replace(stop=alarm.stop and self.stop) for alarm in alarms]
        alarms = trainer.strategy.broadcast(alarms)  # all processes stop together
        for alarm in alarms:
            self._report(trainer, alarm)
        if any(alarm.stop for alarm in alarms) and not trainer.should_stop:
            trainer.should_stop = model.stopped = True

    def _report(self, trainer: lightning.Trainer, alarm: Alarm) -> None:
        title = f"{'Mode collapse' if alarm.stop else 'Warning'}: {alarm.rule}"
        rank_zero_info(f"{title}. {alarm.text}")
        if not trainer.is_global_zero:
            return
        append_text(Path(trainer.default_root_dir) / EVENTS, json.dumps(alarm._asdict()) + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, KimgWandbLogger):
                logger.alert(title, alarm.text)


def _events(path: Path) -> list[str]:
    """Return the lines with an event. A damaged file is set aside; only its last line may be incomplete."""
    *lines, last = (
        read_inside(path.parent, EVENTS, MAX_BYTES).decode(errors="replace").split("\n")
    )  # the last one is empty or incomplete
    events = [line for line in lines if _is_event(line)]
    if len(events) < len(lines):
        rank_zero_info(set_aside(path, f"{len(lines) - len(events)} of its lines"))
    return [*events, *([last] if _is_event(last) else [])]


def _is_event(line: str) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and isinstance(event.get("kimg"), int | float)


def restore_best(trainer: lightning.Trainer, model: Trained) -> str:
    """Load the averaged networks of `best.ckpt` into a model, and return a sentence on the outcome.

    Args:
        trainer: Trainer with the run directory.
        model: The model.
    """
    path = Path(trainer.default_root_dir) / CHECKPOINT_FOLDER / BEST_CHECKPOINT
    if not path.exists():
        return "There is no best checkpoint to restore: one is saved if an Evaluation logs fad."
    try:
        content = read_training_state(path)
    except UnreadableError as error:
        return f"The averaged generator of the last step is kept: {error}"
    kimg = content["clips_seen"] / 1000
    for name in require(model, Averages, "generator_ema", "restoring the best generator").averaged:
        state = {
            key.removeprefix(f"{name}."): x for key, x in content["state_dict"].items() if key.startswith(f"{name}.")
        }
        model.get_submodule(name).load_state_dict(state)
    return (
        f"The averaged generator was restored to the best one, at {kimg:.1f} kimg. To continue from there with other "
        f"settings: --ckpt_path {path} --trainer.default_root_dir ANOTHER_DIR"
    )
