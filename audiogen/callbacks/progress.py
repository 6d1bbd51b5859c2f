"""Show where the training stands: kimg, losses, speed and time left."""

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar

SECONDS_TERMINAL = 0.5
SECONDS_LOG = 10.0  # between lines where the output is a file
SMOOTHING = 0.9


class KimgProgress(ProgressBar):
    """One line that is rewritten on a terminal, and a line every ten seconds in a log file."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._shown_at = 0.0
        self._measured: tuple[float, int] = (0.0, 0)
        self._clips_per_second = 0.0

    def disable(self) -> None:
        """Show nothing (on other ranks than zero)."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress."""
        self._enabled = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._shown_at = time.monotonic()
        self._measured = (self._shown_at, pl_module.clips_seen)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the line where it is due."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        due = now - self._shown_at >= (SECONDS_TERMINAL if terminal else SECONDS_LOG)
        if not self._enabled or not (due or trainer.should_stop):
            return
        self._measure(now, pl_module.clips_seen)
        self._shown_at = now
        end = "\n" if trainer.should_stop or not terminal else ""
        start = "\r\x1b[K" if terminal else ""
        print(f"{start}{self.line(trainer, pl_module)}", end=end, file=sys.stderr, flush=True)

    def line(self, trainer: lightning.Trainer, pl_module: Any) -> str:
        """Return the line, such as `kimg 12.3/50.0 | generator 1.20, discriminator 0.98 | 95.1 clips/s | 6:37 left`."""
        losses = {
            name.removeprefix("loss/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("loss/")
        }
        parts = [f"kimg {pl_module.kimg:.1f}/{pl_module.total_kimg:g}"]
        if losses:
            parts.append(", ".join(f"{name} {value:.3f}" for name, value in losses.items()))
        scores = {"fad": ".1f", "target_share": ".2f", "content_kept": ".2f"}
        known = {name: float(trainer.callback_metrics[name]) for name in scores if name in trainer.callback_metrics}
        parts += [f"{name} {value:{scores[name]}}" for name, value in known.items()]
        parts.append(f"{self._clips_per_second:.1f} clips/s")
        left = pl_module.total_kimg * 1000 - pl_module.clips_seen
        parts.append(f"{_clock(left / max(self._clips_per_second, 1e-9))} left")
        return " | ".join(parts)

    def _measure(self, now: float, clips_seen: int) -> None:
        then, clips_then = self._measured
        speed = (clips_seen - clips_then) / max(now - then, 1e-9)
        old = self._clips_per_second or speed
        self._clips_per_second = SMOOTHING * old + (1 - SMOOTHING) * speed
        self._measured = (now, clips_seen)


def _clock(seconds: float) -> str:
    """Return h:mm:ss or m:ss.

    Example:
        >>> _clock(3725), _clock(65)
        ('1:02:05', '1:05')
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
