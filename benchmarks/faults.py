"""Stop trainings in every way, start the same command again, and compare with a run that was never stopped.

    python -m benchmarks.faults             all faults, 50 kills: about ten minutes on two cores
    python -m benchmarks.faults --short     what the tests do

Each training is a process of its own, forked from one that has loaded the libraries, with a tiny StyleGAN2, a judge and
a save every second step. Disks that are full or read-only are small tmpfs mounts, which need root; without it these
faults are skipped. Two processes that train together are started as a user would.
"""

import argparse
import csv
import json
import logging
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings as python_warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from audiogen.callbacks.checkpoint import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN, is_whole
from audiogen.signals import EXIT_AGAIN

STEP, SAVE_EVERY, CLIPS = 8, 16, 160  # clips
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
    """Data, a judge and an undisturbed run.

    Args:
        folder: For everything.
    """

    def __init__(self, folder: Path) -> None:
        from tests.tiny_judge import write_judge

        self.folder = folder
        self.logs = folder / "logs"
        os.environ["AUDIOGEN_CACHE"] = str(folder / "cache")
        prepared = Process(lambda: print(write_judge(folder)), self.logs / "judge.log")
        assert prepared.wait() == 0, prepared.log.read_text()
        self.data, self.judge = folder / "data", folder / "judge"
        self.reference = folder / "reference"
        done = self.fit(self.reference)
        assert done.wait() == 0, done.log.read_text()

    def command(self, run: Path, *more: str) -> list[str]:
        """Return the command line of a training."""
        from tests.tiny_run import arguments

        args = arguments(self.data, run, CLIPS / 1000, "--data.transform.floor_db", "-100")
        args += ["--data.transform.ceil_db", "20", "--data.batch_size", str(STEP)]
        embedding = "audiogen.metrics.embeddings.classifier.Classifier"
        callbacks = [
            ("checkpoint.KimgCheckpoint", {"every_kimg": SAVE_EVERY / 1000}),
            (
                "evaluation.Evaluation",
                {
                    "embeddings": [{"class_path": embedding, "init_args": {"weights": str(self.judge)}}],
                    "every_kimg": 4 * STEP / 1000,
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

    def wait_for(self, clips: int) -> None:
        """Wait until it has seen so many clips, or has ended."""
        while self.clips() < clips and Path(f"/proc/{self.pid}/stat").read_text().split()[2] != "Z":
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
    """Return where two runs differ, states bit by bit: the last checkpoint, the best one, the table of figures."""
    found = []
    for name in (f"kimg-{CLIPS / 1000:09.3f}.ckpt", "best.ckpt"):
        first, second = (torch.load(run / CHECKPOINT_FOLDER / name, weights_only=True) for run in (one, other))
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
    """Compare figures; matrix products of float64 were seen to differ by 1e-15 with the place of their factors."""
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
    if isinstance(one, float) and isinstance(other, float):  # figures: see `_alike`
        return [] if math.isclose(one, other, rel_tol=1e-12) else [place]
    return [] if one == other else [place]


def kills(bench: Bench, num: int) -> Outcome:
    """SIGKILL at random moments, also before the training and in evaluations."""
    outcome = Outcome("SIGKILL at random moments")
    draw, number = random.Random(0), 0
    while outcome.injected < num:
        number += 1
        run = bench.folder / f"kill-{number}"
        while outcome.injected < num:
            process, until = bench.fit(run), time.monotonic() + draw.uniform(0.2, 3.0)
            while (status := process.poll()) is None and time.monotonic() < until:
                time.sleep(0.005)
            if status is not None:
                assert status == 0, process.log.read_text()
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            outcome.injected += 1
            outcome.survived += 1  # counted off below, where the end is not reached
            outcome.lost = max(outcome.lost, process.clips() - saved_clips(run))
        again = bench.fit(run)
        if again.wait() != 0:
            outcome.survived, outcome.note = 0, again.last_line()
            return outcome
        outcome.differ += differences(bench.reference, run)
        shutil.rmtree(run)
    return outcome


SAVING = ("while it is written", "before it is on disk", "before it is renamed", "after it is renamed")


def kills_while_saving(bench: Bench, num: int) -> Outcome:
    """SIGKILL at chosen places in the saving of a checkpoint."""
    outcome = Outcome("SIGKILL while a checkpoint is saved")
    draw = random.Random(1)
    for index in range(num):
        run = bench.folder / f"save-{index}"
        place, occasion = SAVING[index % len(SAVING)], draw.randint(1, 8)
        process = bench.fit(run, partial(_die_while_saving, place, occasion, draw))
        status = process.wait()
        assert status == -signal.SIGKILL, (place, occasion, status, process.log.read_text())
        outcome.injected += 1
        outcome.lost = max(outcome.lost, process.clips() - saved_clips(run))
        bench.finish(run, outcome)
        shutil.rmtree(run)
    return outcome


def _die_while_saving(place: str, occasion: int, draw: random.Random) -> None:
    """Break what saves, so that it ends the process at a place, on some occasion."""
    from audiogen import atomic
    from audiogen.callbacks import checkpoint

    saves, save, to_disk = [0], torch.save, atomic._to_disk

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def writing(content: Any, file: Any) -> None:
        saves[0] += 1
        if saves[0] == occasion and place == SAVING[0]:
            whole = BytesIO()
            save(content, whole)
            file.write(whole.getvalue()[: draw.randint(0, whole.tell())])
            file.flush()
            die()
        save(content, file)

    def reaching_disk(path: Path) -> None:
        now = saves[0] == occasion
        if now and place == SAVING[1] and path.name.endswith(".ckpt.part"):
            die()
        if now and place == SAVING[3] and path.name == CHECKPOINT_FOLDER:
            die()
        to_disk(path)
        if now and place == SAVING[2] and path.name.endswith(".ckpt.part"):
            die()

    checkpoint.torch = SimpleNamespace(save=writing, load=torch.load)  # type: ignore
    atomic._to_disk = reaching_disk


def warnings(bench: Bench, name: str, num: int) -> Outcome:
    """A signal that warns."""
    outcome = Outcome(f"{name} in training")
    draw = random.Random(2)
    for index in range(num):
        run = bench.folder / f"{name}-{index}"
        process = bench.fit(run)
        process.wait_for(draw.randrange(STEP, CLIPS - STEP, STEP))
        seen = process.clips()
        os.kill(process.pid, getattr(signal, name))
        status = process.wait()
        outcome.injected += 1
        assert status == EXIT_AGAIN, (status, process.log.read_text())
        outcome.lost = max(outcome.lost, seen - saved_clips(run))
        bench.finish(run, outcome)
        shutil.rmtree(run)
    return outcome


def early_warning(bench: Bench) -> Outcome:
    """A signal while libraries are loaded or data are read."""
    outcome = Outcome("SIGUSR1 before the training begins")
    for seconds in (0.0, 0.1, 0.3):
        run = bench.folder / f"early-{seconds}"
        process = bench.fit(run, partial(_later, signal.SIGUSR1, seconds))
        outcome.injected += 1
        assert process.wait() == EXIT_AGAIN, process.log.read_text()
        bench.finish(run, outcome)
        shutil.rmtree(run)
    return outcome


def _later(number: int, seconds: float) -> None:
    from threading import Timer

    from audiogen import signals

    signals.install()
    Timer(seconds, lambda: os.kill(os.getpid(), number)).start()


@contextmanager
def mounted_disk(place: Path, options: str) -> Iterator[bool]:
    """Mount an empty disk in memory, also over another one; yield whether that is allowed."""
    place.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", place], check=True)


def full_disk(bench: Bench, kilobytes: int) -> Outcome:
    """A disk that is full in training, and later is larger."""
    outcome = Outcome(f"disk full at {kilobytes} kB")
    with mounted_disk(bench.folder / f"disk-{kilobytes}", f"size={kilobytes}k") as mounted:
        if not mounted:
            return Outcome(outcome.fault, note="skipped: mounting needs root")
        run = bench.folder / f"disk-{kilobytes}" / f"full-{kilobytes}"
        process = bench.fit(run)
        status = process.wait()
        outcome.injected, outcome.note = 1, process.last_line()
        assert status == 1, (status, process.log.read_text())
        assert "No space left on device" in outcome.note, process.log.read_text()
        outcome.lost = process.clips() - saved_clips(run)
        subprocess.run(["mount", "-o", "remount,size=64m", run.parent], check=True)
        bench.finish(run, outcome)
    return outcome


def read_only(bench: Bench) -> Outcome:
    """A run directory that cannot be written any more, in training and when the same command is started again."""
    outcome = Outcome("run directory read-only")
    run = bench.folder / "disk" / "read-only"
    run.parent.mkdir()
    process = bench.fit(run)
    process.wait_for(4 * STEP)
    with mounted_disk(run.parent, "ro") as mounted:  # over what is there
        if not mounted:
            process.wait()
            return Outcome(outcome.fault, note="skipped: mounting needs root")
        outcome.injected = 2
        assert process.wait() == 1, process.log.read_text()
        outcome.note, seen = process.last_line(), process.clips()
        assert outcome.note.startswith("[Errno"), process.log.read_text()
        refused = bench.fit(run)
        assert refused.wait() == 1, refused.log.read_text()
        assert f"the run directory {run} cannot be written" in refused.last_line(), refused.log.read_text()
        outcome.survived += 1
    outcome.lost = seen - saved_clips(run)
    bench.finish(run, outcome)
    return outcome


def damaged(bench: Bench) -> Outcome:
    """The newest checkpoint is cut off, empty, of other bytes, or has one flipped bit."""
    outcome = Outcome("newest checkpoint damaged")
    for name, change in {
        "cut off": lambda content: content[: len(content) // 2],
        "empty": lambda content: b"",
        "noise": lambda content: os.urandom(len(content)),
        "one bit": lambda content: content[:20_000] + bytes([content[20_000] ^ 1]) + content[20_001:],
    }.items():
        run = bench.folder / f"damaged-{name.replace(' ', '-')}"
        process = bench.fit(run)
        process.wait_for(CLIPS // 2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        newest = max((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN))
        newest.write_bytes(change(newest.read_bytes()))
        outcome.injected += 1
        again = bench.fit(run)
        assert again.wait() == 0, again.log.read_text()
        said = again.log.read_text()
        assert f"{newest} is damaged" in said, said
        outcome.survived += 1
        outcome.differ += differences(bench.reference, run)
        outcome.note = "named, and the one before it used"
        shutil.rmtree(run)
    return outcome


def nonfinite(bench: Bench, skip: bool) -> Outcome:
    """NaN in a batch, in a loss, in a gradient."""
    outcome = Outcome(f"NaN in batch, loss, gradient: {'skip' if skip else 'stop'}")
    more = ["--trainer.callbacks+", "audiogen.callbacks.nonfinite.SkipNonFinite"] if skip else []
    for place in ("batch", "loss", "gradient"):
        run = bench.folder / f"nan-{place}-{'skip' if skip else 'stop'}"
        process = bench.fit(run, partial(_make_nan, place), *more)
        status = process.wait()
        outcome.injected += 1
        said = process.log.read_text()
        assert status == (0 if skip else 1), said
        told = re.findall(r"the gradient of \w+ became NaN or infinite at [\d.]+ kimg.*", said)
        assert told, said
        assert ("the batch has NaN" in told[-1]) == (place == "batch"), said
        outcome.note = told[-1]
        saved_clips(run)
        for file in (run / CHECKPOINT_FOLDER).glob("*.ckpt"):
            content = torch.load(file, weights_only=True)
            assert not _nonfinite(content["state_dict"]), file
            assert not _nonfinite(content["optimizer_states"]), file
        if skip:
            outcome.survived += 1
        else:
            outcome.lost = max(outcome.lost, process.clips() - saved_clips(run))
            bench.finish(run, outcome)
        shutil.rmtree(run)
    return outcome


def _make_nan(place: str) -> None:
    """Break a batch, a loss or a gradient in the middle of a training."""
    from audiogen.data.loading import Spectrograms
    from audiogen.losses.adversarial import logistic_fake
    from audiogen.models import kimg, stylegan2
    from audiogen.processes import average_in_place

    step = Spectrograms.__getitems__
    calls = {"batch": 0, "loss": 0, "gradient": 0}

    def now(what: str, occasion: int) -> bool:
        calls[what] += 1
        return what == place and calls[what] == occasion

    def batch(self: Any, draws: Any) -> Any:
        found = step(self, draws)
        if len(draws) == STEP and now("batch", 12):
            found.spec[3] = torch.nan
        return found

    def averaged(gradients: Any) -> None:
        average_in_place(gradients)
        if now("gradient", 20):
            gradients[0][0] = torch.inf

    def lost(logits: Any) -> Any:
        return logistic_fake(logits) * (torch.nan if now("loss", 9) else 1.0)

    Spectrograms.__getitems__ = batch  # type: ignore
    kimg.average_in_place = averaged  # type: ignore
    stylegan2.logistic_fake = lost  # type: ignore


def _nonfinite(state: Any) -> bool:
    if isinstance(state, torch.Tensor):
        return not bool(state.isfinite().all())
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return any(_nonfinite(item) for item in items)


def data_changes(bench: Bench) -> Outcome:
    """Sounds and their stored spectrograms disappear in training; a sound changes before the same command goes on."""
    outcome = Outcome("data disappear or change")
    data, cache = bench.folder / "going", bench.folder / "going-cache"
    shutil.copytree(bench.data, data)
    run = bench.folder / "data"
    more = ["--data.root", str(data), "--data.cache", str(cache)]
    process = bench.fit(run, None, *more)
    process.wait_for(4 * STEP)
    shutil.rmtree(cache)
    data.rename(data.with_name("gone"))
    outcome.injected += 1
    assert process.wait() == 0, process.log.read_text()
    outcome.survived += 1
    outcome.differ += differences(bench.reference, run)

    data.with_name("gone").rename(data)
    run = bench.folder / "data-changed"
    process = bench.fit(run, None, *more)
    process.wait_for(CLIPS // 2)
    os.kill(process.pid, signal.SIGTERM)
    process.wait()
    first = sorted((data / "low").iterdir())[0]
    first.write_bytes((data / "high" / first.name).read_bytes()[:-2000])
    outcome.injected += 1
    again = bench.fit(run, None, *more)
    assert again.wait() == 0, again.log.read_text()
    assert "The data are not those that this run was trained on" in again.log.read_text(), again.log.read_text()
    outcome.survived += 1
    outcome.note = "goes on without the files; a change before it goes on is told"
    return outcome


def no_server(bench: Bench) -> Outcome:
    """The W&B server cannot be reached."""
    outcome = Outcome("logger unreachable", injected=1)
    run = bench.folder / "logged"
    logger = {"class_path": "audiogen.callbacks.wandb_logger.KimgWandbLogger", "init_args": {"timeout_seconds": 3}}
    command = [sys.executable, "-m", "audiogen", *bench.command(run, "--trainer.logger", json.dumps(logger))]
    unplugged = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_SILENT": "true"}
    # A process with a W&B service of its own: that of another one survives no fork, and keeps the run's id.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | unplugged
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stderr, done.stderr
    outcome.survived, outcome.note = 1, "told, kept on disk"
    outcome.differ = differences(bench.reference, run)
    return outcome


def lost_process(bench: Bench, victims: tuple[int, ...]) -> Outcome:
    """One of two processes is killed."""
    outcome = Outcome("one of two processes killed")
    pair = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "audiogen"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    undisturbed = bench.folder / "pair"
    subprocess.run([*command, *bench.command(undisturbed, *pair)], check=True, capture_output=True, env=environment)
    longest = 0.0
    for victim in victims:
        run = bench.folder / f"pair-{victim}"
        log = bench.logs / f"pair-{victim}.log"
        with log.open("w") as output:
            first = subprocess.Popen(
                [*command, *bench.command(run, *pair)], stdout=output, stderr=output, env=environment, text=True
            )
        while not list((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN)):
            assert first.poll() is None, log.read_text()
            time.sleep(0.05)
        second = int(Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()[0])
        os.kill(second if victim else first.pid, signal.SIGKILL)
        outcome.injected += 1
        start = time.monotonic()
        while first.poll() is None or Path(f"/proc/{second}").exists():
            assert time.monotonic() - start < 60, log.read_text()
            time.sleep(0.05)
        longest = max(longest, time.monotonic() - start)
        assert "of this training is gone or cannot" in log.read_text() or "Child process" in log.read_text(), (
            log.read_text()
        )
        with (run / "metrics.csv").open() as file:
            seen = max(int(row["step"]) for row in csv.DictReader(file))  # each step has a row
        outcome.lost = max(outcome.lost, seen - saved_clips(run))
        subprocess.run([*command, *bench.command(run, *pair)], check=True, capture_output=True, env=environment)
        outcome.survived += 1
        outcome.differ += differences(undisturbed, run)
    outcome.note = f"the other ended within {longest:.0f} s"
    return outcome


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    lines = ["| fault | injected | survived | clips lost at most | states that differ | |", "|---|---|---|---|---|---|"]
    for each in outcomes:
        counts = f"{each.injected} | {each.survived} | {each.lost} | {len(each.differ)}"
        lines.append(f"| {each.fault} | {counts} | {each.note} |")
    return "\n".join(lines)


def measure(folder: Path, short: bool) -> Iterator[Outcome]:
    """Yield what becomes of each kind of fault."""
    bench = Bench(folder)
    yield kills(bench, 6 if short else 50)
    yield kills_while_saving(bench, 4 if short else 40)
    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        yield warnings(bench, name, 1 if short else 10)
    yield early_warning(bench)
    yield full_disk(bench, 600)
    if not short:
        yield full_disk(bench, 300)
        yield full_disk(bench, 1000)
    yield read_only(bench)
    yield damaged(bench)
    yield nonfinite(bench, skip=False)
    yield nonfinite(bench, skip=True)
    yield data_changes(bench)
    yield no_server(bench)
    yield lost_process(bench, (1,) if short else (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="Few of each kind.")
    arguments = parser.parse_args()
    load()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = []
        for outcome in measure(Path(folder), arguments.short):
            outcomes.append(outcome)
            outcome.note = outcome.note.replace(f"{folder}/", "")
            print(table([outcome]).splitlines()[-1], flush=True)
            for place in outcome.differ[:5]:
                print(f"    {place}")
        print(f"\n{table(outcomes)}")
    print(f"\nA checkpoint every {SAVE_EVERY} clips, steps of {STEP}.")
    lost = max(outcome.lost for outcome in outcomes)
    good = all(each.injected == each.survived and not each.differ for each in outcomes) and lost <= SAVE_EVERY
    raise SystemExit(0 if good else 1)


def load() -> None:
    """Load the libraries, of which the trainings are forks, on one thread: threads do not survive a fork."""
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
