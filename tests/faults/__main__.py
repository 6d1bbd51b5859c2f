"""Stop trainings in every way, start the same command again, and compare with a run that was never stopped.

    python -m tests.faults             all faults, more than 1,000: about half an hour on two cores
    python -m tests.faults --short     what the tests do

Each training is a process of its own, forked from one that has loaded the libraries, with a tiny StyleGAN2, a
classifier and a save every second step. Disks that are full or read-only are small tmpfs mounts, which need root;
without it these faults are skipped. Two processes that train together are started as a user would.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from audiogen.checkpoint_io import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN
from tests.faults.bench import CLIPS, EVALUATIONS, SAVE_EVERY, STEP, Bench, Outcome, differences, load, saved_clips
from tests.faults.files import (
    damaged_checkpoints,
    damaged_embeddings,
    damaged_records,
    damaged_stores,
    damaged_tables,
)
from tests.faults.processes import (
    early_warning,
    errors,
    killed_builds,
    kills,
    kills_while_saving,
    lost_process,
    stops_in_evaluation,
    warnings,
)


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
        assert ("The batch has NaN" in told[-1]) == (place == "batch"), said
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
    from audiogen.distributed import all_reduce_mean_
    from audiogen.losses.adversarial import logistic_fake
    from audiogen.models import kimg, stylegan2

    step = Spectrograms.__getitems__
    calls = {"batch": 0, "loss": 0, "gradient": 0}

    def now(what: str, occasion: int) -> bool:
        calls[what] += 1
        return what == place and calls[what] == occasion

    def batch(self: Any, crop_indices: Any) -> Any:
        found = step(self, crop_indices)
        if len(crop_indices) == STEP and now("batch", 12):
            found.spec[3] = torch.nan
        return found

    def broken(gradients: Any) -> None:
        all_reduce_mean_(gradients)
        if now("gradient", 20):
            gradients[0][0] = torch.inf

    def lost(logits: Any) -> Any:
        return logistic_fake(logits) * (torch.nan if now("loss", 9) else 1.0)

    Spectrograms.__getitems__ = batch  # type: ignore
    kimg.all_reduce_mean_ = broken  # type: ignore
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
    assert "The data differ from those that this run was trained on" in again.log.read_text(), again.log.read_text()
    outcome.survived += 1
    outcome.note = "goes on without the files; a change before it goes on is told"
    return outcome


def no_server(bench: Bench) -> Outcome:
    """The W&B server cannot be reached."""
    outcome = Outcome("logger unreachable", injected=1)
    run = bench.folder / "logged"
    logger = {"class_path": "audiogen.callbacks.wandb_logger.KimgWandbLogger", "init_args": {"timeout_seconds": 3}}
    command = [sys.executable, "-m", "audiogen", *bench.command(run, "--trainer.logger", json.dumps(logger))]
    unplugged = {
        "OMP_NUM_THREADS": "1",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_API_KEY": "0" * 40,
        "WANDB_SILENT": "true",
    }
    # A process with a W&B service of its own: that of another one survives no fork, and keeps the run's id.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | unplugged
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stderr, done.stderr
    outcome.survived, outcome.note = 1, "told, kept on disk"
    outcome.differ = differences(bench.reference, run)
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
    yield kills(bench, 6 if short else 100)
    yield kills_while_saving(bench, 4 if short else 60)
    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        yield warnings(bench, name, 1 if short else 15)
    for name in ("SIGUSR1", "SIGKILL"):
        yield stops_in_evaluation(bench, name, (EVALUATIONS,) if short else tuple(range(1, EVALUATIONS + 1)))
    yield early_warning(bench)
    yield errors(bench, 4 if short else 24)
    yield killed_builds(bench, 2 if short else 20)
    yield full_disk(bench, 600)
    if not short:
        yield full_disk(bench, 300)
        yield full_disk(bench, 1000)
    yield read_only(bench)
    yield damaged(bench)
    yield damaged_checkpoints(bench, 16 if short else 300)
    yield damaged_stores(bench, 16 if short else 200)
    yield damaged_embeddings(bench, 8 if short else 100)
    yield damaged_tables(bench, 8 if short else 100)
    yield damaged_records(bench, 8 if short else 50)
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
        print(f"\n{table(outcomes)}\n\n{sum(outcome.injected for outcome in outcomes)} faults.")
    print(f"\nA checkpoint every {SAVE_EVERY} clips, steps of {STEP}.")
    lost = max(outcome.lost for outcome in outcomes)
    good = all(each.injected == each.survived and not each.differ for each in outcomes) and lost <= SAVE_EVERY
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
