"""Handle signals that ask a training to end: Slurm's warning, a pre-emption or Ctrl-C.

Imports nothing slow, so that handlers are installed before the libraries load. Until then SIGUSR1 kills a process.
"""

import os
import signal
import sys
import time
from threading import Thread
from types import FrameType

# EX_TEMPFAIL of sysexits.h: the training was asked to end, and continues if the same command is run again.
EXIT_AGAIN = 75
EXIT_LOST = 74  # EX_IOERR of sysexits.h: another process of the training is gone

HANDLED = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_received: list[int] = []
_training = False


def install() -> None:
    """Handle SIGUSR1, SIGTERM, SIGINT and SIGHUP: at the end of a batch in training, otherwise at once."""
    for number in HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup sets SIGHUP to be ignored
            signal.signal(number, _answer)


def ignore() -> None:
    """Ignore all further signals, while an earlier one is being handled."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def follow_parent() -> None:
    """End this process when its parent is gone. Otherwise it might wait for the parent forever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        print("audiogen: error: the first process of this training is gone", file=sys.stderr, flush=True)
        os._exit(EXIT_LOST)

    Thread(target=watch, daemon=True).start()


def expect(training: bool) -> None:
    """Set whether a training is running, which polls `received`, and forget earlier signals."""
    global _training
    _training = training
    _received.clear()


def received() -> str:
    """Return the name of the first signal received, or an empty string."""
    return signal.Signals(_received[0]).name if _received else ""


def _answer(number: int, frame: FrameType | None) -> None:
    if not _training:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        print(f"audiogen: ended by {signal.Signals(number).name} before training", file=sys.stderr)
        raise SystemExit(EXIT_AGAIN)
    if number == signal.SIGINT and _received:  # Ctrl-C a second time, or after another signal
        raise KeyboardInterrupt
    _received.append(number)
