"""Check before training that what callbacks monitor is logged at all.

Lightning's EarlyStopping finds out at its first check, which may be at the end of the training, and ModelCheckpoint
then has saved nothing.
"""

from difflib import get_close_matches
from typing import Protocol, runtime_checkable

import lightning

from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.capabilities import Trained

SHOWN = 12  # names in a message


@runtime_checkable
class LogsMetrics(Protocol):
    """A callback that logs metrics of its own, such as an evaluation."""

    def metric_names(self) -> set[str] | None:
        """Return the names of all metrics that it logs; None where they are not known before."""


def check_monitors(trainer: lightning.Trainer, model: Trained) -> None:
    """Refuse callbacks that monitor a metric which this run never logs.

    It is called once the evaluation knows its real clips, since the metrics depend on their classes and number. For a
    model without `metric_names`, or metrics whose names are not known before they are computed, nothing is refused.

    Args:
        trainer: Has the callbacks.
        model: A model, whose `metric_names` lists what it logs.

    Raises:
        ValueError: Naming the callback, the metric and similar ones that are logged.
    """
    evaluations = [callback for callback in trainer.callbacks if isinstance(callback, LogsMetrics)]  # type: ignore[attr-defined]
    parts = [model.metric_names(), *(evaluation.metric_names() for evaluation in evaluations)]
    names: set[str] = set()
    for part in parts:
        if part is None:
            return
        names |= part
    if not trainer.enable_validation:
        names = {name for name in names if not name.startswith("val/")}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = getattr(callback, "monitor", None)
        optional = isinstance(callback, KimgCheckpoint) and not evaluations  # it saves a best.ckpt where it can
        if isinstance(monitor, str) and monitor not in names and not optional:
            near = get_close_matches(monitor, names, n=3) or sorted(names)[:SHOWN]
            raise ValueError(
                f"{type(callback).__name__} monitors {monitor!r}, which this run does not log. It logs "
                f"{', '.join(near)}{'' if len(near) == len(names) else ' and others'}. Set the callback's monitor to "
                "one of them, or add an evaluation that logs it (configs/trainer/evaluation_*.yaml)."
            )
