"""Print the progress of a training: kimg, losses, scores, speed and remaining time."""

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar

from audiogen.capabilities import Trained, trained
from audiogen.scalars import Scalars

SECONDS_TERMINAL = 0.5  # between updates
SECONDS_LOG = 10.0  # between lines if the output is a file
SMOOTHING = 0.9


class KimgProgress(ProgressBar):
    """Update one line on a terminal, or write a line every ten seconds to a log file."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._shown_at = 0.0
        self._measured: tuple[float, int] = (0.0, 0)
        self._clips_per_second = 0.0

    def disable(self) -> None:
        """Print nothing. Lightning calls it on all ranks but zero."""
        self._enabled = False

    def enable(self) -> None:
        """Print progress."""
        self._enabled = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start measuring the speed."""
        model = trained(pl_module)
        self._shown_at = time.monotonic()
        self._measured = (self._shown_at, model.clips_seen)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print the line if the last one is old enough, or the training ends."""
        model = trained(pl_module)
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        due = now - self._shown_at >= (SECONDS_TERMINAL if terminal else SECONDS_LOG)
        if not self._enabled or not (due or trainer.should_stop):
            return
        self._measure(now, model.clips_seen)
        self._shown_at = now
        end = "\n" if trainer.should_stop or not terminal else ""
        start = "\r\x1b[K" if terminal else ""
        print(f"{start}{self.line(trainer, model)}", end=end, file=sys.stderr, flush=True)

    def line(self, trainer: lightning.Trainer, model: Trained) -> str:
        """Return the progress line, with the scalars whose descriptions are headlines.

        For example `kimg 12.3/50 | generator 1.2, discriminator 0.98 | fad 35.1 | 95.1 clips/s | 6:37 left`.
        """
        scalars = Scalars.of([model, *trainer.callbacks])  # type: ignore[attr-defined]
        names = [name for name in trainer.callback_metrics if scalars[name].headline]
        parts: dict[str, list[str]] = {}
        for name in sorted(names, key=scalars.position):
            title = scalars[name].title
            shown = f"{name.removeprefix(f'{title}/')} {float(trainer.callback_metrics[name]):.3g}"
            parts.setdefault(title, []).append(shown)
        speed = max(self._clips_per_second, 1e-9)
        left = (model.total_kimg * 1000 - model.clips_seen) / speed
        return " | ".join(
            [
                f"kimg {model.kimg:.1f}/{model.total_kimg:g}",
                *(", ".join(shown) for shown in parts.values()),
                f"{self._clips_per_second:.1f} clips/s",
                f"{_clock(left)} left",
            ]
        )

    def _measure(self, now: float, clips_seen: int) -> None:
        then, clips_then = self._measured
        speed = (clips_seen - clips_then) / max(now - then, 1e-9)
        old = self._clips_per_second or speed
        self._clips_per_second = SMOOTHING * old + (1 - SMOOTHING) * speed
        self._measured = (now, clips_seen)


def _clock(seconds: float) -> str:
    """Format a duration as h:mm:ss or m:ss.

    Example:
        >>> _clock(3725), _clock(65)
        ('1:02:05', '1:05')
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
