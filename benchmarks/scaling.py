"""Measure what several processes exchange and what it costs: `python -m benchmarks.scaling`.

Measured on this machine, with one thread per process: bytes per step compared with the formulas of docs/scaling.md,
steps of one and two processes with 16 clips each, and Lightning's own DDP in alternation with ours. Estimated: the
efficiency on GPUs. No GPU was measured. The output is the Markdown tables of docs/scaling.md.

Needs the extra `demo` and an otherwise idle machine. Takes 10 minutes on 2 cores.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.scaling_runs import Report, start

CONFIGS = {"StyleGAN2": "configs/quickstart.yaml", "MelGAN-VC": "configs/melgan_vc_quickstart.yaml"}
PLAIN = [
    *("--trainer.callbacks", "[]", "--trainer.enable_progress_bar", "false"),
    *("--trainer.enable_checkpointing", "false", "--trainer.accelerator", "cpu"),
]
BATCH = 16  # clips of each process
STEPS, ROUNDS = 32, 10
FLOAT, DOUBLE, INTEGER = 4, 8, 8  # bytes
GPUS = (2, 8, 16, 64)
STEP_SECONDS = 0.05  # of one GPU, assumed
LATENCY = 30e-6  # seconds of a message, assumed
LINKS = {"25 GbE": 25e9 / 8, "100 GbE": 100e9 / 8, "InfiniBand NDR": 400e9 / 8}  # bytes per second, nominal
FOLDER_BYTES = 216_220_979  # gradients of a step of stylegan2_folder, by the formula


@dataclass(frozen=True)
class Exchanged:
    """Collectives per step and bytes of one process's tensors per step, both means over many steps."""

    calls: float = 0.0
    size: float = 0.0


def exchanged_per_step(sizes: Mapping[str, Any], batch_size: int) -> dict[str, Exchanged]:
    """Return the collectives and bytes of a step by purpose (the formulas of docs/scaling.md).

    Args:
        sizes: Numbers of a model, from `benchmarks.scaling_runs.sizes_of`.
        batch_size: Clips per step over all processes.
    """
    weights = sizes["weights"]
    if "siamese" not in weights:
        found = _of_stylegan2(sizes, weights)
    else:
        norms = [channels for name in ("generator", "siamese") for channels in sizes["norms"][name]]
        # Sums, sums of squares and the count, in the forward and the backward pass.
        sums = Exchanged(2 * len(norms), 2 * FLOAT * sum(2 * channels + 1 for channels in norms))
        found = {"gradients": Exchanged(2, FLOAT * sum(weights.values())), "batch norm": sums}
    names = log_names(sizes)
    logs = batch_size / (1000 * max(sizes["log_every_kimg"], batch_size / 1000))  # at most one in a step
    # All means in one exchange.
    log = Exchanged(logs, 2 * DOUBLE * names * logs)
    return found | {"log": log, "decision": Exchanged(1, INTEGER)}


def _of_stylegan2(sizes: Mapping[str, Any], weights: Mapping[str, int]) -> dict[str, Exchanged]:
    r1, path = (1 / sizes[name] if sizes[name] else 0.0 for name in ("r1_interval", "path_length_interval"))
    adversarial = weights["generator"] + weights["discriminator"]
    penalties = r1 * weights["discriminator_penalty"] + path * weights["generator_penalty"]
    maps = (1 + path) * (1 + sizes["style_mixing"])  # calls of the mapping network, each with a mean w
    return {
        "gradients": Exchanged(2 + r1 + path, FLOAT * (adversarial + penalties)),
        "means": Exchanged(maps + path, FLOAT * (maps * sizes["w_dim"] + path)),  # and of the path length
    }


def log_names(sizes: Mapping[str, Any]) -> int:
    """Return the number of means that a model logs."""
    if "siamese" not in sizes["weights"]:
        return 8 + 2 * bool(sizes["r1_interval"]) + 3 * bool(sizes["path_length_interval"])
    return 10


def stock_per_step(sizes: Mapping[str, Any]) -> float:
    """Return the gradient bytes of a step with DistributedDataParallel.

    Each backward pass exchanges all weights. StyleGAN2 has three passes and one per penalty, MelGAN-VC has two.
    """
    weights = sizes["weights"]
    if "siamese" in weights:
        return FLOAT * 2 * sum(weights.values())
    penalties = [1 / sizes[name] for name in ("r1_interval", "path_length_interval") if sizes[name]]
    return FLOAT * (3 + sum(penalties)) * (weights["generator"] + weights["discriminator"])


def efficiency(step: float, calls: float, size: float, num: int, bandwidth: float, latency: float = LATENCY) -> float:
    """Return the estimated clips per second of `num` processes, relative to `num` times the clips per second of one.

    Args:
        step: Duration of a step of one process in seconds.
        calls: Collectives per step.
        size: Bytes per step.
        num: Number of processes, each with its own batch.
        bandwidth: Bytes per second of the slowest link of the ring.
        latency: Seconds per message. A collective takes 2 log2(num) messages.

    Example:
        >>> efficiency(step=0.1, calls=1, size=1e9, num=2, bandwidth=10e9, latency=0.0)
        0.5
    """
    exchange = calls * 2 * math.log2(num) * latency + 2 * (num - 1) / num * size / bandwidth
    return step / (step + exchange)


def counted_table(reports: Mapping[str, Report], stock: Mapping[str, Report]) -> str:
    """Return the table of gradient bytes per step: counted, by the formula, and with Lightning's DDP."""
    rows = []
    for name, report in reports.items():
        calls, size = counted(report)["gradients"]
        expected = exchanged_per_step(report.sizes, 2 * BATCH)["gradients"]
        found = [
            f"{calls:.2f}",
            f"{size:,.0f}",
            f"{expected.size:,.0f}",
            f"{counted(stock[name])['gradients'][1]:,.0f}",
        ]
        rows.append([name, *found])
    return table(["", "collectives", "bytes", "by the formula", "Lightning's DDP"], rows)


def counted(report: Report) -> dict[str, tuple[float, float]]:
    """Return counted collectives and bytes per step, by purpose."""
    steps = len(report.seconds)
    calls, size = Counter[str](), Counter[str]()
    for call in report.calls:
        if 0 <= call.step < steps:
            calls[call.purpose] += 1
            size[call.purpose] += call.size
    return {purpose: (calls[purpose] / steps, size[purpose] / steps) for purpose in calls}


def steps_table(alone: Mapping[str, Report], together: Mapping[str, Report]) -> str:
    """Return the table of median steps of one and two processes, with the time spent in collectives."""
    rows = []
    for name, report in together.items():
        one, two = median(alone[name].seconds), median(report.seconds)
        exchange = sum(call.seconds for call in report.calls if call.step >= 0) / len(report.starts)
        rows.append(
            [name, *(f"{1000 * x:.0f}" for x in (one, two, exchange)), f"{BATCH / one:.0f}", f"{2 * BATCH / two:.0f}"]
        )
    heads = ["", "step of one (ms)", "step of two (ms)", "of which in collectives", "clips/s of one", "clips/s of two"]
    return table(heads, rows)


def in_turn_table(times: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return the table of the fastest rounds with our strategy and with Lightning's DDP."""
    rows = []
    for name, rounds in times.items():
        ours, stock = (min(seconds) for seconds in zip(*rounds, strict=True))
        rows.append([name, f"{1000 * ours:.1f}", f"{1000 * stock:.1f}", f"{stock / ours:.2f}"])
    return table(["", "ours (ms)", "Lightning's DDP (ms)", "ratio"], rows)


def gpu_table() -> str:
    """Return the table of estimated efficiencies of GPUs for `stylegan2_folder`."""
    rows = [
        [name, *(f"{efficiency(STEP_SECONDS, 4, FOLDER_BYTES, num, bandwidth):.2f}" for num in GPUS)]
        for name, bandwidth in LINKS.items()
    ]
    return table(["slowest link (nominal)", *(f"{num} GPUs" for num in GPUS)], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def main() -> None:
    """Measure and print all tables."""
    alone, together, stock, times = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, config in CONFIGS.items():

            def line(num: int, config: str = config) -> list[str]:
                kimg = num * BATCH * (STEPS + 1) / 1000
                batch = ["--data.batch_size", str(num * BATCH), "--model.total_kimg", str(kimg)]
                return ["fit", "--config", config, *PLAIN, *batch]

            alone[model] = start("train", line(1), 1, folder / f"{model}-1")[0]
            rounds = []
            for index in range(ROUNDS):
                together[model] = start("train", line(2), 2, folder / f"{model}-2-{index}")[0]
                stock[model] = start("stock", line(2), 2, folder / f"{model}-stock-{index}")[0]
                rounds.append((mean(together[model].seconds), mean(stock[model].seconds)))
            times[model] = rounds
    print(f"Gradients per step of two processes:\n\n{counted_table(together, stock)}\n")
    print(f"Steps, {BATCH} clips for each process:\n\n{steps_table(alone, together)}\n")
    print(f"Ours and Lightning's DDP, fastest of {ROUNDS} rounds in turn:\n\n{in_turn_table(times)}\n")
    print(f"Estimated efficiency of GPUs (nothing measured):\n\n{gpu_table()}")


if __name__ == "__main__":
    main()
