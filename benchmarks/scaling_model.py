"""What a step of several processes costs, in closed form; `benchmarks.scaling` holds it against measurements.

Processes that wait for each other take as long as the slowest. All-reduces are rings: 2 (N - 1) messages, and
2 (N - 1) / N of the bytes over each link (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

FLOAT, DOUBLE, INTEGER = 4, 8, 8  # bytes


@dataclass(frozen=True)
class Exchanged:
    """What a step exchanges: collectives and the bytes of a process's tensors in them, means over many steps."""

    calls: float = 0.0
    size: float = 0.0

    def __add__(self, other: "Exchanged") -> "Exchanged":
        return Exchanged(self.calls + other.calls, self.size + other.size)


@dataclass(frozen=True)
class Link:
    """What processes exchange over.

    Attributes:
        name: For tables.
        latency: Seconds of a message.
        bandwidth: Bytes per second in one direction.
        trees: Whether messages go up and down a tree, as NCCL's may, not round a ring: there are fewer in a row.
    """

    name: str
    latency: float
    bandwidth: float
    trees: bool = False

    def seconds(self, num: int, exchanged: Exchanged) -> float:
        """Return how long all-reduces of `num` processes take.

        Example:
            >>> Link("", latency=0.5, bandwidth=10.0).seconds(2, Exchanged(calls=3, size=40))
            7.0
        """
        messages, share = 2 * (math.log2(num) if self.trees else num - 1), 2 * (num - 1) / num
        return messages * self.latency * exchanged.calls + share * exchanged.size / self.bandwidth


@dataclass(frozen=True)
class Step:
    """A step of one process by itself, in seconds.

    Attributes:
        compute: Networks, losses, optimisers, and the Trainer.
        spread: How long such steps take, relative to their mean.
        draw: Random numbers for its share of the batch; it draws those of all processes.
        read: Reading its share of the batch, which nothing else goes on beside.
        pack: Copying gradients together and apart, where there are several processes.
        exchanged: All that is exchanged over the processes' link.
        decisions: What is exchanged over a process group on the processors.
    """

    compute: float
    spread: tuple[float, ...] = (1.0,)
    draw: float = 0.0
    read: float = 0.0
    pack: float = 0.0
    exchanged: Exchanged = Exchanged()
    decisions: Exchanged = Exchanged()

    def seconds(self, num: int, link: Link, deciding: Link | None = None, sharing: float = 1.0) -> float:
        """Return how long a step of `num` processes takes.

        Args:
            num: Processes.
            link: Between them.
            deciding: For the decisions; the same by default.
            sharing: Processes for each core, where there are more than cores.
        """
        own = self.compute * slowest(self.spread, num) + self.draw * num + self.read + self.pack * (num > 1)
        return own * sharing + link.seconds(num, self.exchanged) + (deciding or link).seconds(num, self.decisions)

    def efficiency(self, num: int, link: Link, deciding: Link | None = None) -> float:
        """Return the share of `num` times the clips per second of one process, each with a batch of its own."""
        return self.seconds(1, link) / self.seconds(num, link, deciding)


@dataclass(frozen=True)
class Occasion:
    """Something that happens every so often while training waits, in seconds of one process.

    Attributes:
        every_kimg: How often.
        each: What each process does, the same in all.
        shared: What is shared among them.
        first: What the first does alone.
    """

    every_kimg: float
    each: float = 0.0
    shared: float = 0.0
    first: float = 0.0

    def seconds(self, num: int, sharing: float = 1.0) -> float:
        """Return how long it takes `num` processes, `sharing` of them on each core."""
        return (self.each + self.shared / num) * sharing + self.first


def seconds_per_kimg(num: int, step: float, batch_size: int, occasions: Sequence[Occasion]) -> float:
    """Return seconds of a training per kimg, with steps of `step` seconds and `batch_size` clips over all processes.

    Example:
        >>> seconds_per_kimg(2, step=0.1, batch_size=10, occasions=[Occasion(5.0, each=3.0, shared=4.0)])
        11.0
    """
    return 1000 / batch_size * step + sum(occasion.seconds(num) / occasion.every_kimg for occasion in occasions)


def slowest(spread: Sequence[float], num: int) -> float:
    """Return the expected time of the slowest of `num` processes, each as fast as one of the times in `spread`.

    Of m times in order, the k-th is the greatest of `num` draws with probability (k / m)^num - ((k - 1) / m)^num.

    Example:
        >>> slowest([1.0, 3.0], 1), slowest([1.0, 3.0], 2)
        (2.0, 2.5)
    """
    ranks = np.arange(len(spread) + 1) / len(spread)
    return float(np.diff(ranks**num) @ np.sort(spread))


def normal_spread(deviation: float, num: int = 1000) -> tuple[float, ...]:
    """Return times that are normally distributed around 1."""
    return tuple(NormalDist(1.0, deviation).inv_cdf((k + 0.5) / num) for k in range(num))


def fitted_link(name: str, num: int, sizes: Sequence[float], seconds: Sequence[float]) -> Link:
    """Return the link whose all-reduces of `num` processes are nearest to measured ones, by relative error.

    Args:
        name: Of the link.
        num: Processes.
        sizes: Bytes of the all-reduces.
        seconds: How long they took.
    """
    times = np.asarray(seconds)
    rows = np.array([[2 * (num - 1), 2 * (num - 1) / num * size] for size in sizes]) / times[:, None]
    latency, per_byte = np.linalg.lstsq(rows, np.ones(len(times)), rcond=None)[0]
    return Link(name, max(float(latency), 1e-9), 1 / max(float(per_byte), 1e-15))


def exchanged_per_step(sizes: Mapping[str, Any], batch_size: int) -> dict[str, Exchanged]:
    """Return what a step exchanges, by purpose: the formulas of docs/scaling.md.

    Args:
        sizes: Of a model, as `benchmarks.scaling_runs` reports them.
        batch_size: Clips per step over all processes.
    """
    weights = sizes["weights"]
    if "generator" in weights:
        found = _of_stylegan2(sizes, weights)
    else:
        norms = [channels for name in ("generator", "siamese") for channels in sizes["norms"][name]]
        # Sums, sums of squares and the count, there and back.
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
    """Return how many metrics a model logs the means of."""
    if "generator" in sizes["weights"]:
        return 8 + 2 * bool(sizes["r1_interval"]) + 3 * bool(sizes["path_length_interval"])
    return 10


def stock_per_step(sizes: Mapping[str, Any]) -> float:
    """Return the bytes of gradients of a step with DistributedDataParallel: all weights in each backward pass to some.

    StyleGAN2 has three such passes and those of the penalties, MelGAN-VC two.
    """
    weights = sizes["weights"]
    if "generator" not in weights:
        return FLOAT * 2 * sum(weights.values())
    penalties = [1 / sizes[name] for name in ("r1_interval", "path_length_interval") if sizes[name]]
    return FLOAT * (3 + sum(penalties)) * (weights["generator"] + weights["discriminator"])


def across(num: int, node: int, inside: Link, between: Link) -> Link:
    """Return the slowest link of a ring of `num` processes, `node` of them in each machine."""
    return inside if num <= node else between
