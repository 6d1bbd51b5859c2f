"""Faults of `tests.faults` that come to processes: kills, signals, and the end of one of two."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from audiogen.checkpoint_io import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN
from audiogen.signals import EXIT_AGAIN
from tests.faults.bench import CLIPS, EVALUATIONS, STEP, Bench, Outcome, Process, differences, saved_clips


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
    from audiogen import atomic, checkpoint_io

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
        if now and place == SAVING[1] and path.name.endswith(".part"):
            die()
        if now and place == SAVING[3] and path.name == CHECKPOINT_FOLDER:
            die()
        to_disk(path)
        if now and place == SAVING[2] and path.name.endswith(".part"):
            die()

    checkpoint_io.torch = SimpleNamespace(**(vars(torch) | {"save": writing}))  # type: ignore
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


def stops_in_evaluation(bench: Bench, name: str, occasions: tuple[int, ...]) -> Outcome:
    """A signal while clips are evaluated, in the last evaluation too."""
    outcome = Outcome(f"{name} in an evaluation")
    number: int = getattr(signal, name)
    for occasion in occasions:
        run = bench.folder / f"evaluation-{name}-{occasion}"
        process = bench.fit(run, partial(_stop_while_evaluating, number, occasion))
        outcome.injected += 1
        status = process.wait()
        assert status == (-number if number == signal.SIGKILL else EXIT_AGAIN), process.log.read_text()
        assert len(_evaluations(run)) == occasion - 1, "the evaluation was not left"
        outcome.lost = max(outcome.lost, process.clips() - saved_clips(run))
        bench.finish(run, outcome)
        shutil.rmtree(run)
    return outcome


def _stop_while_evaluating(number: int, occasion: int) -> None:
    from audiogen.models.stylegan2 import StyleGAN2

    sample, calls = StyleGAN2.sample, [0]

    def stopped(*given: Any, **named: Any) -> Any:
        if sys._getframe(1).f_code.co_name == "make_clips":
            calls[0] += 1
            if calls[0] == occasion:
                os.kill(os.getpid(), number)
        return sample(*given, **named)

    StyleGAN2.sample = stopped  # type: ignore


def _evaluations(run: Path) -> list[str]:
    with (run / "metrics.csv").open() as file:
        return [row["step"] for row in csv.DictReader(file) if row.get("fad")]


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
        assert "of this training ended or cannot" in log.read_text() or "Child process" in log.read_text(), (
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


ERRORS = ("callback", "step", "evaluation", "data")


def errors(bench: Bench, num: int) -> Outcome:
    """Exceptions in a callback, in the midst of a step, in an evaluation and in the reading of clips."""
    outcome = Outcome("exception in callback, step, evaluation, data")
    draw = random.Random(3)
    for index in range(num):
        run, place = bench.folder / f"error-{index}", ERRORS[index % len(ERRORS)]
        # The first evaluation and the last step are the occasions at both ends.
        occasion = (
            draw.randrange(1, EVALUATIONS + 1) if place == "evaluation" else draw.randrange(2, CLIPS // STEP // 2)
        )
        process = bench.fit(run, partial(_fail, place, occasion))
        status = process.wait()
        outcome.injected += 1
        assert status == 1, (status, process.log.read_text())
        assert "RuntimeError: injected" in process.log.read_text(), process.log.read_text()
        outcome.lost = max(outcome.lost, process.clips() - saved_clips(run))
        bench.finish(run, outcome)
        shutil.rmtree(run)
    outcome.note = "saved where it stood, or the last checkpoint used"
    return outcome


def _fail(place: str, occasion: int) -> None:
    """Let a training raise an error at some call."""
    from audiogen.callbacks.checkpoint import KimgCheckpoint
    from audiogen.data.loading import Spectrograms
    from audiogen.metrics.evaluator import Evaluator
    from audiogen.models.stylegan2 import StyleGAN2

    owners: dict[str, tuple[Any, str]] = {
        "callback": (KimgCheckpoint, "on_train_batch_end"),
        "step": (StyleGAN2, "r1_backward"),
        "evaluation": (Evaluator, "compute"),
        "data": (Spectrograms, "__getitems__"),
    }
    owner, name = owners[place]
    original, calls = getattr(owner, name), []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == occasion:
            raise RuntimeError("injected")
        return original(*args, **kwargs)

    setattr(owner, name, failing)


def killed_builds(bench: Bench, num: int) -> Outcome:
    """The build of a store, or one of its workers, is killed: what is built is kept, and the store is the same."""
    outcome = Outcome("build of a store, or a worker of it, killed")
    draw = random.Random(4)
    expected = _built(bench, bench.folder / "build", kill=None)
    for index in range(num):
        cache, kill = bench.folder / f"build-{index}", ("main", "worker")[index % 2]
        outcome.injected += 1
        found = _built(bench, cache, kill, draw.uniform(0.0, 0.5))
        if found is None:  # the first process was killed
            found = _built(bench, cache, kill=None)
        outcome.survived += found == expected
        outcome.differ += [] if found == expected else [f"{kill} {index}"]
        shutil.rmtree(cache)
    outcome.note = "the rest is built by the next one, or by another worker"
    return outcome


def _built(bench: Bench, cache: Path, kill: str | None, seconds: float = 0.0) -> dict[str, bytes] | None:
    """Build a store in a process of its own and return its files; None where that process was killed.

    Args:
        bench: Has the data.
        cache: Where the store is built.
        kill: Which process to kill: "main", a "worker" of it, or none.
        seconds: When.
    """
    from tests.faults.files import data_of

    def build() -> None:
        print(data_of(bench, cache, num_workers=2).loaded.summary())

    process = Process(build, bench.logs / f"{cache.name}.log")
    time.sleep(seconds)
    if kill == "main":
        os.kill(process.pid, signal.SIGKILL)
    while kill == "worker" and process.runs():
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            with suppress(ProcessLookupError):
                os.kill(int(children[-1]), signal.SIGKILL)
            break
        time.sleep(0.005)
    status = process.wait()
    if kill == "main" and status == -signal.SIGKILL:
        return None
    assert status == 0, process.log.read_text()
    (place,) = [path for path in (cache / "spectrograms").iterdir() if path.is_dir()]
    return {path.name: path.read_bytes() for path in place.iterdir()}
