"""Signals that ask a training to end: a warning of Slurm, a pre-emption, Ctrl-C.

Imports nothing slow: handlers stand before the libraries are loaded, since until then SIGUSR1 ends a process.
"""

import os
import signal
import sys
import time
from threading import Thread
from types import FrameType

# EX_TEMPFAIL of sysexits.h: the training was asked to end, and goes on when the same command is started again.
EXIT_AGAIN = 75
EXIT_LOST = 74  # EX_IOERR: another process of the training is gone

HANDLED = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_received: list[int] = []
_training = False


def install() -> None:
    """Let SIGUSR1, SIGTERM, SIGINT and SIGHUP be answered at the end of a batch, and before a training at once."""
    for number in HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _answer)


def ignore() -> None:
    """Ignore further ones: what was asked for is being done."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def follow_parent() -> None:
    """End this process when the one that started it is gone: nobody else would, and it may wait for it for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        print("audiogen: error: the first process of this training is gone", file=sys.stderr, flush=True)
        os._exit(EXIT_LOST)

    Thread(target=watch, daemon=True).start()


def expect(training: bool) -> None:
    """Say that a training begins, which will ask for `received`, or that it has ended."""
    global _training
    _training = training
    _received.clear()


def received() -> str:
    """Return the name of the signal that came, or nothing."""
    return signal.Signals(_received[0]).name if _received else ""


def _answer(number: int, frame: FrameType | None) -> None:
    if not _training:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        print(f"audiogen: ended by {signal.Signals(number).name} before training", file=sys.stderr)
        raise SystemExit(EXIT_AGAIN)
    if number == signal.SIGINT and _received:  # the second time, or after another one
        raise KeyboardInterrupt
    _received.append(number)
