"""Stop a GAN before it collapses: watch the logged figures, warn, stop, and restore the best averaged generator."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_info

from audiogen.atomic import append_text, write_text
from audiogen.callbacks.checkpoint import (
    BEST_CHECKPOINT,
    CHECKPOINT_FOLDER,
    UnreadableError,
    is_whole,
    read_training_state,
)
from audiogen.metrics.collapse import RULES, Alarm, Rule, Watch
from audiogen.untrusted import read_inside

EVENTS = "events.jsonl"
MAX_BYTES = 1 << 26
# Logged by the model's validation pass.
VALIDATED = ("val/logits_real", "val/logits_train", "val/logits_fake", "path_length/mean")


class ModeCollapse(lightning.Callback):
    """Apply rules to what is logged. What was seen is printed, kept in `events.jsonl` and sent to W&B as an alert.

    Where a rule that stops fires, the best averaged generator by `fad` comes back (from `best.ckpt`, which
    `KimgCheckpoint` saves), the last checkpoint, pictures and sounds are made with it, and the training ends.

    Args:
        rules: The rules; by default those that were calibrated.
        warm_up_kimg: Before, nothing is judged.
        stop: Whether to stop at all; otherwise all rules only warn.
    """

    def __init__(self, rules: Sequence[Rule] | None = None, warm_up_kimg: float = 2.0, stop: bool = True) -> None:
        if warm_up_kimg < 0:
            raise ValueError(f"warm_up_kimg must be >= 0, got {warm_up_kimg}")
        self.watch = Watch(RULES if rules is None else rules, warm_up_kimg)
        self.stop = stop

    def state_dict(self) -> dict[str, Any]:
        """Return what has been seen."""
        return self.watch.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.watch.load_state(state_dict)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Drop events of a stretch of training that is done again."""
        path = Path(trainer.default_root_dir) / EVENTS
        if trainer.is_global_zero and path.exists():
            lines = read_inside(path.parent, EVENTS, MAX_BYTES).decode().splitlines()
            events = [event for event in map(_event, lines) if event]
            write_text(path, "".join(json.dumps(e) + "\n" for e in events if e["kimg"] <= pl_module.kimg))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Restore the best after the last evaluation, and before the last checkpoint, pictures and sounds."""
        if pl_module.stopped:
            told = restore_best(trainer, pl_module)
            rank_zero_info(f"Stopped at {pl_module.kimg:.1f} kimg. {told}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge the means of a stretch of training."""
        if pl_module.crossed(pl_module.log_every_kimg):
            self._apply_rules(trainer, pl_module, pl_module.last_logged)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Judge the figures of an evaluation."""
        if trainer.state.fn == "fit":
            known = trainer.callback_metrics
            validated = {name: float(known[name]) for name in VALIDATED if name in known}
            self._apply_rules(trainer, pl_module, pl_module.last_logged | validated)

    def _apply_rules(self, trainer: lightning.Trainer, pl_module: Any, figures: dict[str, float]) -> None:
        alarms = self.watch.update(pl_module.kimg, figures)
        alarms = [alarm._replace(stop=alarm.stop and self.stop) for alarm in alarms]
        alarms = trainer.strategy.broadcast(alarms)  # all processes stop together
        for alarm in alarms:
            self._tell(trainer, alarm)
        if any(alarm.stop for alarm in alarms) and not trainer.should_stop:
            trainer.should_stop = pl_module.stopped = True

    def _tell(self, trainer: lightning.Trainer, alarm: Alarm) -> None:
        title = f"{'Mode collapse' if alarm.stop else 'Warning'}: {alarm.rule}"
        rank_zero_info(f"{title}. {alarm.text}")
        if not trainer.is_global_zero:
            return
        append_text(Path(trainer.default_root_dir) / EVENTS, json.dumps(alarm._asdict()) + "\n")
        for logger in trainer.loggers:
            if hasattr(logger, "alert"):
                logger.alert(title, alarm.text)


def _event(line: str) -> dict[str, Any] | None:
    """Return what a line holds, or None where it was cut off."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def restore_best(trainer: lightning.Trainer, pl_module: Any) -> str:
    """Put the averaged networks of `best.ckpt` into a model, and say so.

    Args:
        trainer: Knows the run directory.
        pl_module: A model with `averaged`, the names of its averaged networks.
    """
    path = Path(trainer.default_root_dir) / CHECKPOINT_FOLDER / BEST_CHECKPOINT
    if not is_whole(path):
        return "There is no best checkpoint to go back to: KimgCheckpoint saves one where Evaluation logs fad."
    try:
        content = read_training_state(path)
    except UnreadableError as error:
        return f"The averaged generator stays that of the last step: {error}"
    kimg = content["clips_seen"] / 1000
    for name in pl_module.averaged:
        state = {
            key.removeprefix(f"{name}."): x for key, x in content["state_dict"].items() if key.startswith(f"{name}.")
        }
        pl_module.get_submodule(name).load_state_dict(state)
    return (
        f"The averaged generator is again that of {kimg:.1f} kimg, the best one. To train on from there with other "
        f"settings: --ckpt_path {path} --trainer.default_root_dir ANOTHER_DIR"
    )
