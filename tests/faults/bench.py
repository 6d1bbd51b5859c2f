"""What `tests.faults` stops and compares: a bench of tiny trainings, each a fork of this process."""

import csv
import json
import logging
import math
import os
import signal
import sys
import time
import warnings as python_warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from audiogen.checkpoint_io import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN, is_whole
from audiogen.run_settings import STATE_KEY

STEP, SAVE_EVERY, EVALUATE_EVERY, CLIPS = 8, 16, 48, 160  # clips; the last evaluation is not one of the interval's
EVALUATIONS = math.ceil(CLIPS / EVALUATE_EVERY)
Tamper = Callable[[], None]


@dataclass
class Outcome:
    """What became of a fault.

    Attributes:
        fault: Its name.
        injected: How often.
        survived: How often the same command went on, or what was to be told was told.
        lost: Clips of progress that were lost at most.
        differ: States of the end that are not those of the undisturbed run.
        note: Such as the message.
    """

    fault: str
    injected: int = 0
    survived: int = 0
    lost: int = 0
    differ: list[str] = field(default_factory=list)
    note: str = ""


class Bench:
    """Data, a classifier and an undisturbed run.

    Args:
        folder: For everything.
    """

    def __init__(self, folder: Path) -> None:
        from tests.tiny_classifier import write_classifier

        self.folder = folder
        self.logs = folder / "logs"
        os.environ["AUDIOGEN_CACHE"] = str(folder / "cache")
        prepared = Process(lambda: print(write_classifier(folder)), self.logs / "classifier.log")
        assert prepared.wait() == 0, prepared.log.read_text()
        self.data, self.classifier = folder / "data", folder / "classifier"
        self.reference = folder / "reference"
        done = self.fit(self.reference)
        assert done.wait() == 0, done.log.read_text()

    def command(self, run: Path, *more: str) -> list[str]:
        """Return the command line of a training."""
        from tests.tiny_run import arguments

        args = arguments(self.data, run, CLIPS / 1000, "--data.transform.floor_db", "-100")
        args += ["--data.transform.ceil_db", "20", "--data.batch_size", str(STEP)]
        args += ["--checkpoint.every_kimg", str(SAVE_EVERY / 1000)]
        embedding = "audiogen.metrics.embeddings.classifier.Classifier"
        callbacks = [
            (
                "evaluation.Evaluation",
                {
                    "embeddings": [{"class_path": embedding, "init_args": {"weights": str(self.classifier)}}],
                    "every_kimg": EVALUATE_EVERY / 1000,
                    "num_clips": 16,
                },
            ),
            ("mode_collapse.ModeCollapse", {}),
        ]
        listed = [{"class_path": f"audiogen.callbacks.{name}", "init_args": given} for name, given in callbacks]
        args[args.index("--trainer.callbacks") + 1] = json.dumps(listed)
        return [*args, *more]

    def fit(self, run: Path, tamper: Tamper | None = None, *more: str) -> "Process":
        """Start a training in a fork, with something broken in it."""
        journal = self.logs / f"{run.name}.clips"

        def train() -> None:
            from audiogen import __main__ as command_line

            _keep_journal(journal)
            if tamper is not None:
                tamper()
            sys.argv = ["audiogen", *self.command(run, *more)]
            command_line.main()

        return Process(train, self.logs / f"{run.name}.log", journal)

    def finish(self, run: Path, outcome: Outcome) -> None:
        """Start the same command again, to the end, and compare."""
        again = self.fit(run)
        if again.wait() != 0:
            outcome.note = again.last_line()
            return
        outcome.survived += 1
        outcome.differ += differences(self.reference, run)


class Process:
    """A fork of this process.

    Args:
        work: What it does.
        log: What it prints.
        journal: Where it writes the clips it has seen.
    """

    def __init__(self, work: Callable[[], Any], log: Path, journal: Path | None = None) -> None:
        self.log, self.journal = log, journal
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGHUP):  # where this process was told to ignore them
                signal.signal(number, signal.SIG_DFL)
            _print_to(log)
            work()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def poll(self) -> int | None:
        """Return the exit status, -9 for one killed by signal 9, or None for one that runs."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else None

    def wait(self, seconds: float = 120.0) -> int:
        """Wait for the end and return the exit status; one that does not end is killed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (status := self.poll()) is not None:
                return status
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise TimeoutError(f"no end after {seconds} s:\n{self.log.read_text()[-2000:]}")

    def clips(self) -> int:
        """Return the clips it has seen."""
        try:
            return int(self.journal.read_text() or 0) if self.journal else 0
        except FileNotFoundError:
            return 0

    def runs(self) -> bool:
        """Return whether it has not ended."""
        return Path(f"/proc/{self.pid}/stat").read_text().split()[2] != "Z"

    def wait_for(self, clips: int) -> None:
        """Wait until it has seen so many clips, or has ended."""
        while self.clips() < clips and self.runs():
            time.sleep(0.002)

    def last_line(self) -> str:
        """Return what it said of its end."""
        said = [line for line in self.log.read_text().splitlines() if line.startswith("audiogen: ") or "Error" in line]
        return said[-1].removeprefix("audiogen: error: ") if said else ""


def _print_to(log: Path) -> None:
    """Let all that this process prints go to a file, also what had been turned elsewhere."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1) for descriptor in (1, 2))  # noqa: SIM115
    loggers = [logging.getLogger(name) for name in ("", *logging.root.manager.loggerDict)]
    for handler in [handler for logger in loggers for handler in logger.handlers]:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    python_warnings.showwarning = lambda *warning: print(python_warnings.formatwarning(*warning[:4]), file=sys.stderr)


def _keep_journal(journal: Path) -> None:
    """Let a training write down the clips it has seen; its first process does."""
    from audiogen.models.kimg import KimgModule

    count = KimgModule.count_clips

    def counted(model: KimgModule) -> None:
        count(model)
        journal.write_text(str(model.clips_seen))

    journal.unlink(missing_ok=True)
    KimgModule.count_clips = counted  # type: ignore


def saved_clips(run: Path) -> int:
    """Return the clips of the newest checkpoint, after a look at all of them.

    Raises:
        AssertionError: Where one is broken.
    """
    files = sorted((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN))
    for file in [*files, *(run / CHECKPOINT_FOLDER).glob("best.ckpt")]:
        assert is_whole(file), f"{file} is broken"
    return round(float(files[-1].stem.removeprefix("kimg-")) * 1000) if files else 0


def differences(one: Path, other: Path) -> list[str]:
    """Return where two runs differ, states bit by bit: the last checkpoint, the best one, the table of metrics."""
    found = []
    for name in (f"kimg-{CLIPS / 1000:09.3f}.ckpt", "best.ckpt"):
        first, second = (torch.load(run / CHECKPOINT_FOLDER / name, weights_only=True) for run in (one, other))
        for content in (first, second):
            del content["callbacks"][STATE_KEY]  # they name the run directory
        for part in ("state_dict", "optimizer_states", "clips_seen", "callbacks"):
            found += [f"{name}{place}" for place in _differing(first[part], second[part], f"/{part}")]
    tables = []
    for run in (one, other):
        with (run / "metrics.csv").open() as file:
            tables.append({row["step"]: row for row in csv.DictReader(file)})
    first, second = tables
    found += [f"metrics.csv/{step}" for step in first.keys() ^ second.keys()]
    for step in first.keys() & second.keys():
        names = [name for name in first[step] if not name.startswith(("speed/", "evaluation/"))]
        pairs = [(name, first[step][name], second[step].get(name)) for name in names]
        found += [f"metrics.csv/{step}/{name} {a} {b}" for name, a, b in pairs if not _alike(a, b)]
    return found


def _alike(one: str, other: str | None) -> bool:
    """Compare metrics; matrix products of float64 were seen to differ by 1e-15 with the place of their factors."""
    return one == other or (bool(one and other) and math.isclose(float(one), float(other or 0), rel_tol=1e-12))


def _differing(one: Any, other: Any, place: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in _differing(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found for i, pair in enumerate(zip(one, other, strict=True)) for found in _differing(*pair, f"{place}/{i}")
        ]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    if isinstance(one, float) and isinstance(other, float):  # metrics: see `_alike`
        return [] if math.isclose(one, other, rel_tol=1e-12) else [place]
    return [] if one == other else [place]


def load() -> None:
    """Load the libraries, of which the trainings are forks, on one thread: threads do not survive a fork."""
    torch.set_num_threads(1)
