"""Where the time of a step goes, measured in real trainings of several processes; `benchmarks.scaling` prints it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import torch
import yaml

from audiogen import distributed, rng
from benchmarks.scaling_model import Exchanged, Link, Step, exchanged_per_step, fitted_link
from benchmarks.scaling_runs import Call, Report, start
from benchmarks.timing import fastest

CONFIGS = {"StyleGAN2": "configs/quickstart.yaml", "MelGAN-VC": "configs/melgan_vc_quickstart.yaml"}
TINY = {
    "StyleGAN2": [f"--model.{net}.channel_max=8" for net in ("generator", "discriminator")],
    "MelGAN-VC": [f"--model.{net}.width=8" for net in ("generator", "siamese", "discriminator")],
}
BATCH = 16
PLAIN = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
ROUNDS, ROUND_STEPS = 10, 16
ALL_REDUCES = [8, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 24]  # bytes


@dataclass(frozen=True)
class Parts:
    """Where the seconds of a step go, means over processes and steps; and how much steps of a kind differ.

    Attributes:
        step: All of it, of which the following are parts.
        compute: Networks, losses, optimisers, and the Trainer.
        draw: Random numbers.
        read: Reading clips.
        pack: Copying gradients together and apart.
        waiting: For the slowest.
        gradients: Their exchange, once the last has come.
        small: All other exchanges.
        spread: Computing times relative to their mean.
    """

    step: float
    compute: float
    draw: float
    read: float
    pack: float
    waiting: float
    gradients: float
    small: float
    spread: tuple[float, ...]


@dataclass
class Measured:
    """What was measured of a config; keys are processes and the batch of each."""

    sizes: dict[str, Any]
    drawn: list[int]  # numbers in each draw of a step of one process
    alone: dict[int, Parts] = field(default_factory=dict)
    beside: dict[tuple[int, int], Parts] = field(default_factory=dict)
    together: dict[tuple[int, int], Parts] = field(default_factory=dict)
    counted: dict[str, Exchanged] = field(default_factory=dict)  # in a step of two
    stock: Exchanged = field(default_factory=Exchanged)  # of gradients, by Lightning's DDP
    in_turn: list[tuple[float, float]] = field(default_factory=list)  # steps of two: ours, and under Lightning's DDP


def timed_steps(reports: Sequence[Report], warm: int) -> list[int]:
    """Return the steps in which all processes trained, in whole periods of the penalties."""
    end = min(report.starts[-1] for report in reports)
    first = [s for s in range(warm, len(reports[0].starts) - 1) if all(r.starts[s + 1] <= end for r in reports)]
    sizes = reports[0].sizes
    period = max(sizes.get("r1_interval", 0), sizes.get("path_length_interval", 0), 1)
    return first[: len(first) // period * period] or first


def aligned(reports: Sequence[Report], steps: Sequence[int]) -> Iterator[tuple[Call, float, float]]:
    """Yield each collective, how long processes waited for the last one, and how long it took from then on."""
    wanted = set(steps)
    for calls in zip(*([c for c in r.calls if c.step in wanted] for r in reports), strict=True):
        last = max(call.entered for call in calls)
        took = mean(max(call.left - last, 0.0) for call in calls)
        yield calls[0], mean(last - call.entered for call in calls), took


def parts_of(reports: Sequence[Report], warm: int, together: bool) -> Parts:
    """Return where the time of the steps after the first `warm` ones went."""
    steps = timed_steps(reports, warm)
    sums = dict.fromkeys(("waiting", "gradients", "small"), 0.0)
    if together:
        for call, waited, took in aligned(reports, steps):
            sums["waiting"] += waited / len(steps)
            sums["gradients" if call.purpose == "gradients" else "small"] += took / len(steps)
    spans = dict.fromkeys(("draw", "read", "pack"), 0.0)
    computing: list[float] = []
    spread: list[float] = []
    for report in reports:
        own = {step: report.starts[step + 1] - report.starts[step] for step in steps}
        for call in report.calls:
            if call.step in own:
                own[call.step] -= call.left - call.entered
        for span in report.spans:
            if span.step in own and span.name in spans:
                own[span.step] -= span.seconds
                spans[span.name] += span.seconds / len(steps) / len(reports)
        computing += own.values()
        spread += _relative(own, report.sizes)
    whole = mean((report.starts[steps[-1] + 1] - report.starts[steps[0]]) / len(steps) for report in reports)
    return Parts(whole, mean(computing), **spans, **sums, spread=tuple(time / mean(spread) for time in spread))


def _relative(own: dict[int, float], sizes: dict[str, Any]) -> list[float]:
    """Return computing times of steps relative to the median of those with the same penalties."""
    intervals = [max(sizes.get(name, 0), 1) for name in ("r1_interval", "path_length_interval")]
    kinds: dict[tuple[bool, ...], list[float]] = {}
    for step, seconds in own.items():
        kinds.setdefault(tuple(step % interval == 0 for interval in intervals), []).append(seconds)
    return [seconds / median(times) for times in kinds.values() for seconds in times]


def measure(name: str, nums: Sequence[int], warm: int, steps: int, tiny: bool, folder: Path) -> Measured:
    """Run a config's trainings, alone, beside each other and together."""
    line = [
        "fit",
        "--config",
        CONFIGS[name],
        *PLAIN,
        "--trainer.callbacks",
        "[]",
        "--trainer.enable_checkpointing",
        "false",
        *(TINY[name] if tiny else []),
    ]
    if tiny:
        line += ["--data.dataset.init_args.num_clips", "600"]

    def train(
        num: int, share: int, kind: str = "train", together: bool = True, steps: int = steps, turn: int = 0
    ) -> list[Report]:
        batch = share * (num if together else 1)
        kimg = ["--data.batch_size", str(batch), "--model.total_kimg", str(batch * (warm + steps + 1) / 1000)]
        place = folder / f"{name}-{kind}-{num}-{share}-{together}-{turn}"
        print(f"  {name}: {num} x {share} {kind} {'together' if together else 'beside each other'}", flush=True)
        return start(kind, [*line, *kimg], num, place, together)

    first = train(1, BATCH)
    drawn = [span.size for span in first[0].spans if span.step == warm + 1 and span.name == "draw"]
    found = Measured(first[0].sizes, drawn, {BATCH: parts_of(first, warm, True)})
    for num in nums:
        for share in dict.fromkeys((BATCH, BATCH // num)):
            if share not in found.alone:
                found.alone[share] = parts_of(train(1, share), warm, True)
            if num > 1:
                found.beside[num, share] = parts_of(train(num, share, together=False), warm, False)
                reports = train(num, share)
                found.together[num, share] = parts_of(reports, warm, True)
                if (num, share) == (2, BATCH):
                    found.counted = counted(reports[0], timed_steps(reports, warm))
    for turn in range(1, (1 if tiny else ROUNDS) + 1):
        ours, stock = (train(2, BATCH, kind, steps=ROUND_STEPS, turn=turn) for kind in ("train", "stock"))
        found.in_turn.append((parts_of(ours, warm, False).step, parts_of(stock, warm, False).step))
    found.stock = counted(stock[0], timed_steps(stock, warm))["gradients"]
    return found


def counted(report: Report, steps: Sequence[int]) -> dict[str, Exchanged]:
    """Return what a process exchanged in a step, by purpose."""
    found: dict[str, Exchanged] = {}
    for call in report.calls:
        if call.step in steps:
            one = Exchanged(1 / len(steps), call.size / len(steps))
            found[call.purpose] = found.get(call.purpose, Exchanged()) + one
    return found


def measure_link(num: int, folder: Path) -> tuple[Link, dict[int, float]]:
    """Time all-reduces of some sizes, and return the link that fits them best, and the times."""
    reports = start("links", [str(size) for size in ALL_REDUCES], num, folder / f"links-{num}")
    times: dict[int, list[float]] = {}
    for call, _, took in aligned(reports, [-1]):
        if call.size:
            times.setdefault(call.size, []).append(took)
    found = {size: median(values) for size, values in times.items()}
    return fitted_link(f"loopback, {num} processes", num, list(found), list(found.values())), found


def measure_occasions(nums: Sequence[int], folder: Path) -> dict[int, dict[str, float]]:
    """Return seconds of the first process in evaluation, checkpoint and pictures of the quickstart, by processes."""
    callbacks = yaml.safe_load(Path(CONFIGS["StyleGAN2"]).read_text())["trainer"]["callbacks"]
    kept = [each for each in callbacks if "every_kimg" in each.get("init_args", {})]
    for each in kept:
        each["init_args"]["every_kimg"] = 0.256
    found = {}
    for num in nums:
        line = ["fit", "--config", CONFIGS["StyleGAN2"], *PLAIN, "--trainer.callbacks", json.dumps(kept)]
        line += ["--trainer.enable_checkpointing", "true", "--checkpoint.every_kimg", "0.256"]
        report = start("train", [*line, "--model.total_kimg", "0.32"], num, folder / f"occasions-{num}")[0]
        spans = [(span.name, span.seconds) for span in report.spans if span.step >= 0]
        times = {name: seconds for name, seconds in reversed(spans) if name not in ("draw", "read", "pack")}
        # The first validation holds what follows it; the best checkpoint is saved within it too.
        inside = sum(times[name] for name in ("generated clips", "metrics", "checkpoint"))
        found[num] = times | {"validation": times["validation"] - inside}
    return found


def packing_seconds(num_weights: float) -> float:
    """Return what copying gradients together and apart takes, with an exchange that takes no time."""
    gradients = list(torch.zeros(int(num_weights)).chunk(50))
    nothing = patch.object(torch.distributed, "all_reduce", lambda flat: None)
    with patch.object(distributed, "num_processes", lambda: 2), nothing:
        return fastest({"": lambda: distributed.all_reduce_mean_(gradients)})[""]


def drawing_seconds(drawn: Sequence[int], num: int) -> float:
    """Return what the random numbers of a step take each of `num` processes."""

    def draw() -> None:
        rng.seed(0, 0, num)
        for size in drawn:
            rng.randn((size,))

    seconds = fastest({"": draw})[""]
    rng.seed(0)
    return seconds


def step_of(measured: Measured, parts: Parts, batch_size: int, pack: float) -> Step:
    """Return what the simulation takes of a step that was measured without exchanges; `batch_size` is of all."""
    exchanged = exchanged_per_step(measured.sizes, batch_size)
    decisions = exchanged.pop("decision")
    all_else = sum(exchanged.values(), Exchanged())
    return Step(parts.compute, parts.spread, parts.draw, parts.read, pack, all_else, decisions)


def packed(measured: Measured) -> float:
    """Return what packing takes in a step."""
    return packing_seconds(exchanged_per_step(measured.sizes, BATCH)["gradients"].size / 4)
