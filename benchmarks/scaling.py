"""What more processes give, measured and simulated: `python -m benchmarks.scaling [--short]`.

Measured: trainings of 1, 2 and 4 gloo processes of one thread each, with the Trainer but without pictures, evaluation
and checkpoints, at a fixed batch for each process (weak scaling) and at a fixed batch (strong scaling). The same
processes beside each other, each with a training of its own: what sharing cores costs. All-reduces of several sizes. A
StyleGAN2 with evaluation, pictures and checkpoints. Lightning's own DDP and ours in turn.

Simulated (`benchmarks.scaling_model`): first what was measured, from what one process and the all-reduces take; then up
to 64 GPUs, of which nothing is measured: their steps and links are assumptions. Tables are Markdown, as in
docs/scaling.md.

Needs the extra `demo` and a machine on which nothing else runs: about 35 minutes on 2 cores.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from audiogen.models.stylegan2 import StyleGAN2
from audiogen.networks.stylegan2 import Discriminator, Generator
from audiogen.transforms.mel import LogMel
from benchmarks.scaling_measure import (
    BATCH,
    CONFIGS,
    Measured,
    drawing_seconds,
    measure,
    measure_link,
    measure_occasions,
    packed,
    step_of,
)
from benchmarks.scaling_model import (
    Exchanged,
    Link,
    Occasion,
    Step,
    across,
    exchanged_per_step,
    normal_spread,
    seconds_per_kimg,
    stock_per_step,
)
from benchmarks.scaling_runs import sizes_of

GPUS = (1, 2, 4, 8, 16, 32, 64)
NODE = 8  # GPUs in a machine
# Nominal speeds in one direction, of a GPU or of the one port of a machine. Latencies of a message are assumed.
INSIDE = Link("NVLink 4", 5e-6, 450e9, trees=True)  # 900 GB/s in both: NVIDIA H100 data sheet
BETWEEN = [
    Link("25 GbE", 30e-6, 25e9 / 8, trees=True),
    Link("100 GbE", 30e-6, 100e9 / 8, trees=True),
    Link("InfiniBand HDR", 5e-6, 200e9 / 8, trees=True),  # NVIDIA ConnectX-6
    Link("InfiniBand NDR", 5e-6, 400e9 / 8, trees=True),  # NVIDIA ConnectX-7
]
DECIDING = Link("gloo over TCP", 50e-6, 1e9)  # assumed
GPU_STEPS = (0.02, 0.05, 0.2)  # assumed, in seconds
GPU_SPREAD = normal_spread(0.02)  # assumed
GPU_DRAWS = 5e10  # normal numbers per second; assumed

Links = Mapping[int, tuple[Link, dict[int, float]]]
Table = tuple[str, str]


def tables(
    links: Links, found: Mapping[str, Measured], occasions: Mapping[int, dict[str, float]], cores: int
) -> Iterator[Table]:
    """Yield title and text of each table."""
    yield "All-reduces of gloo over loopback", links_table(links)
    for name, measured in found.items():
        yield f"{name}: exchanged per step, 2 processes of {BATCH} clips", exchange_table(measured)
        yield f"{name}: a step, ms (means over processes)", parts_table(measured, cores)
        yield f"{name}: two processes of {BATCH} clips in turn, fastest steps", in_turn_table(measured)
        yield f"{name}: the simulation of these steps", prediction_table(measured, links, cores)
        nums = (1, 2, 4, 8, 16, 32, 64)
        rows = [[f"{1e3 * drawing_seconds(measured.drawn, num):.2f}" for num in nums]]
        yield f"{name}: ms of drawing on one core, by processes that share the draws", table([*map(str, nums)], rows)
    if occasions:
        yield (
            "Quickstart: evaluation, a checkpoint, pictures: ms of the first process",
            occasions_table(occasions, cores),
        )
        yield "Quickstart, simulated for cores like these, loopback", run_table(found["StyleGAN2"], links, occasions)
    small = found["StyleGAN2"]
    numbers = sum(small.drawn) / BATCH
    yield "GPUs: efficiency, networks of the quickstart, 16 clips each", gpu_table(small.sizes, BATCH, numbers)
    sizes, numbers, _ = large_step(32)
    size = exchanged_per_step(sizes, 32)["gradients"].size / 1e6
    yield f"GPUs: efficiency, stylegan2_folder ({size:.0f} MB a step), 32 clips each", gpu_table(sizes, 32, numbers)


def links_table(links: Links) -> str:
    """Return times of all-reduces, and the latency and bandwidth that fit them."""
    sizes = list(next(iter(links.values()))[1])
    heads = ["distributed", *(f"{size:,} B" for size in sizes), "latency", "bandwidth"]
    rows = []
    for num, (link, times) in links.items():
        fitted = [f"{1e6 * link.latency:.0f} us", f"{link.bandwidth / 1e9:.2f} GB/s"]
        rows.append([num, *(f"{1e3 * times[size]:.3f} ms" for size in sizes), *fitted])
    return table(heads, rows)


def exchange_table(measured: Measured) -> str:
    """Return what was counted beside the formula, and what Lightning's DDP exchanges."""
    formula = exchanged_per_step(measured.sizes, 2 * BATCH)
    rows = []
    for name, counted in measured.counted.items():
        cells = (
            f"{value:{how}}"
            for each in (counted, formula[name])
            for value, how in ((each.calls, ".2f"), (each.size, ",.0f"))
        )
        rows.append([name, *cells])
    stock, expected = measured.stock, stock_per_step(measured.sizes)
    rows.append(["gradients, stock DDP", f"{stock.calls:.2f}", f"{stock.size:,.0f}", "", f"{expected:,.0f}"])
    return table(["", "calls", "bytes", "calls (formula)", "bytes (formula)"], rows)


def parts_table(measured: Measured, cores: int) -> str:
    """Return where time went, alone, beside each other and together."""
    names = ("step", "compute", "draw", "read", "pack", "waiting", "gradients", "small")
    alone = [((1, share), parts) for share, parts in measured.alone.items()]
    rows = []
    for kind, cases in (("alone", alone), ("beside", measured.beside.items()), ("together", measured.together.items())):
        for (num, share), parts in cases:
            per_second = num * share / parts.step
            ideal = min(num, cores) * share / measured.alone[share].step
            cells = [f"{1e3 * getattr(parts, name):.2f}" for name in names]
            rows.append([kind, num, share, *cells, f"{per_second:.0f}", f"{per_second / ideal:.2f}"])
    return table(["", "distributed", "clips each", *names, "clips/s", "of its cores"], rows)


def in_turn_table(measured: Measured) -> str:
    """Return the fastest of the steps that were taken in turn, and the stock ones relative to ours."""
    ours, stock = (min(steps) for steps in zip(*measured.in_turn, strict=True))
    cells = [len(measured.in_turn), f"{1e3 * ours:.1f}", f"{1e3 * stock:.1f}", f"{stock / ours:.2f}"]
    return table(["rounds", "ours (ms)", "stock DDP (ms)", "stock DDP / ours"], [cells])


def prediction_table(measured: Measured, links: Links, cores: int) -> str:
    """Return steps as simulated from one process alone, and from processes beside each other, against measured ones."""
    pack, rows = packed(measured), []
    for (num, share), parts in measured.together.items():
        link, sharing = links[num][0], max(1.0, num / cores)
        of_one = step_of(measured, measured.alone[share], num * share, pack).seconds(num, link, sharing=sharing)
        of_beside = step_of(measured, measured.beside[num, share], num * share, pack * sharing).seconds(num, link)
        cells = [f"{1e3 * parts.step:.1f}"]
        for predicted in (of_one, of_beside):
            cells += [f"{1e3 * predicted:.1f}", f"{predicted / parts.step - 1:+.0%}"]
        rows.append([num, share, *cells])
    heads = [
        "distributed",
        "clips each",
        "measured (ms)",
        "from one alone (ms)",
        "error",
        "from processes beside each other (ms)",
        "error",
    ]
    return table(heads, rows)


def occasions_table(occasions: Mapping[int, dict[str, float]], cores: int) -> str:
    """Return what else was done, and what the simulation says of it from one process."""
    names, one = list(occasions[1]), occasions[1]
    rows = []
    for num, times in occasions.items():
        rows.append([num, "measured", *(f"{1e3 * times[name]:.0f}" for name in names)])
        sharing, expected = max(1.0, num / cores), []
        for name in names:
            share = num if name in ("generated clips", "validation") else 1
            alone = name in ("checkpoint", "pictures")  # the others wait
            expected.append(one[name] / share * (1 if alone else sharing))
        rows.append([num, "simulated", *(f"{1e3 * seconds:.0f}" for seconds in expected)])
    return table(["distributed", "", *names], rows)


def config_occasions(one: Mapping[str, float]) -> list[Occasion]:
    """Return the occasions of the quickstart at its intervals."""
    evaluation = Occasion(5.0, one["metrics"], one["generated clips"] + one["validation"])
    return [evaluation, Occasion(10.0, first=one["checkpoint"] + one["pictures"])]


def run_table(measured: Measured, links: Links, occasions: Mapping[int, dict[str, float]]) -> str:
    """Return what more cores like the measured one would give the quickstart, each process on its own core."""
    link, pack = links[2][0], packed(measured)
    evaluation = config_occasions(occasions[1])
    rows = []
    for fixed in (False, True):
        for num in GPUS:
            share = BATCH // num if fixed else BATCH
            if share not in measured.alone:
                continue
            step = step_of(measured, measured.alone[share], num * share, pack).seconds(num, link)
            kimg = seconds_per_kimg(num, step, num * share, evaluation)
            other = kimg - 1000 / (num * share) * step
            rows.append([num, share, f"{1e3 * step:.1f}", f"{1000 / kimg:.0f}", f"{other / kimg:.0%}", kimg * num])
    alone = rows[0][-1]
    rows = [[*row[:-1], f"{alone / row[-1]:.2f}"] for row in rows]  # type: ignore[operator]
    return table(["distributed", "clips each", "step (ms)", "clips/s", "not training", "efficiency of the run"], rows)


def large_step(batch_size: int) -> tuple[dict[str, Any], float, float]:
    """Return sizes of `configs/stylegan2_folder.yaml`, and numbers drawn and bytes stored of a clip of it."""
    config = yaml.safe_load(Path("configs/stylegan2_folder.yaml").read_text())
    given = config["model"]["init_args"]
    networks: Any = [partial(m, **given[m.__name__.lower()]["init_args"]) for m in (Generator, Discriminator)]
    transform = LogMel(**config["data"]["transform"]["init_args"])
    intervals = {name: given[name] for name in ("path_length_interval", "style_mixing")}
    model = StyleGAN2(transform, [], batch_size, *networks, **intervals)
    noise = sum(m.noise_const.numel() for m in model.generator.modules() if hasattr(m, "noise_const"))
    clip = transform.shape[1] * transform.shape[2]
    # A batch of noise, and at every fourth step half of one, with as many numbers more as the clips have.
    return sizes_of(model), noise + (noise + clip) / 8 + 2 * model.generator.z_dim, 2.0 * clip


def gpu_step(sizes: dict[str, Any], compute: float, batch: int, num: int, numbers: float) -> Step:
    """Return a step of a GPU with `numbers` draws a clip; all its times are assumptions."""
    exchanged = exchanged_per_step(sizes, batch * num)
    decisions = exchanged.pop("decision")
    draw = batch * numbers / GPU_DRAWS
    return Step(compute, GPU_SPREAD, draw, exchanged=sum(exchanged.values(), Exchanged()), decisions=decisions)


def gpu_table(sizes: dict[str, Any], batch: int, numbers: float) -> str:
    """Return efficiencies of assumed steps over nominal links; up to a machine's GPUs the link is the one inside."""
    rows = []
    for compute in GPU_STEPS:
        for between in BETWEEN:
            steps = {num: gpu_step(sizes, compute, batch, num, numbers) for num in GPUS}
            cells = [
                f"{steps[1].seconds(1, INSIDE) / step.seconds(num, across(num, NODE, INSIDE, between), DECIDING):.2f}"
                for num, step in steps.items()
            ]
            rows.append([f"{1e3 * compute:.0f}", between.name, *cells])
    return table(["step (ms, assumed)", "between machines (nominal)", *map(str, GPUS)], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table.

    Example:
        >>> print(table(["a", "b"], [[1, 0.25]]))
        | a | b |
        |---|---|
        | 1 | 0.25 |
    """
    lines = [heads, *rows]
    text = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(heads), *text[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="Tiny networks, two processes, few steps.")
    short = parser.parse_args().short
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", ".*already saved during checkpointing.*")
    nums, warm, steps = ((1, 2), 2, 16) if short else ((1, 2, 4), 16, 64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        links = {num: measure_link(num, folder) for num in nums if num > 1}
        found = {config: measure(config, nums, warm, steps, short, folder) for config in CONFIGS}
        occasions = {} if short else measure_occasions(nums, folder)
    cores = len(os.sched_getaffinity(0))
    print(f"\n{cores} cores\n")
    for title, text in tables(links, found, occasions, cores):
        print(f"**{title}**\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main()
