"""Trainings of several processes with a clock at every exchange; `benchmarks.scaling` starts them and reads reports.

    python -m benchmarks.scaling_runs REPORT train fit --config ...     one process of a training
    python -m benchmarks.scaling_runs REPORT stock fit --config ...     the same under Lightning's own DDP
    python -m benchmarks.scaling_runs REPORT links BYTES ...            all-reduces of these sizes

A training is that of the command line, with the Trainer: what is exchanged is counted where it is exchanged, in
`torch.distributed`, and its purpose is told by who asked for it. Clocks of processes on one machine are the same, so
that waiting for the others can be told from exchanging.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Functions that exchange, the telling ones first; one of them is on the stack of every exchange of a step.
PURPOSES = {
    "KimgModule._log_recorded": "log",
    "ManualAllReduce.reduce_boolean_decision": "decision",
    "ParallelStrategy.reduce_boolean_decision": "decision",
    "KimgModule.update": "gradients",
    "_AllReduce.forward": "batch norm",
    "all_reduce_mean": "means",
}
COLLECTIVES = ("all_reduce", "broadcast", "reduce", "all_gather", "all_gather_into_tensor", "gather", "barrier")
REPEATS = 20  # of an all-reduce of a size
_START_SECONDS = 300.0  # that processes wait for each other to begin


@dataclass
class Call:
    """A collective.

    Attributes:
        step: In which it was, -1 before the first.
        purpose: See `PURPOSES`.
        size: Bytes of this process's tensors.
        entered: When this process began it, in seconds.
        left: When it ended.
    """

    step: int
    purpose: str
    size: int
    entered: float
    left: float


@dataclass
class Span:
    """Something else that takes time: `seconds` of it without collectives, and how much of it there was."""

    step: int
    name: str
    seconds: float
    size: int


@dataclass
class Report:
    """What a process says of its training.

    Attributes:
        starts: When each step began.
        calls: All collectives.
        spans: What else was timed.
        sizes: Weights of the networks and intervals of the model, by name.
    """

    starts: list[float] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The step that runs."""
        return len(self.starts) - 1

    def write(self, path: Path) -> None:
        """Write it, to be read by `read_report`."""
        path.write_text(json.dumps(asdict(self)))


def read_report(path: Path) -> Report:
    """Read what `Report.write` wrote."""
    found = json.loads(path.read_text())
    calls, spans = [Call(**call) for call in found["calls"]], [Span(**span) for span in found["spans"]]
    return Report(found["starts"], calls, spans, found["sizes"])


class Clock:
    """Puts a clock where processes exchange, draw, read, pack, classifier and save.

    Args:
        report: Where to.
        ready: A file that this process makes when its first step begins, and those of all it waits for.
    """

    def __init__(self, report: Report, ready: tuple[Path, Sequence[Path]] | None = None) -> None:
        self.report, self.ready = report, ready
        self.exchanging = 0.0  # seconds in collectives so far

    def on_collectives(self) -> None:
        """Time the collectives."""
        for name in COLLECTIVES:
            self._replace(dist, name, self._counted)

    def on_training(self) -> None:
        """Time the parts of a training."""
        from lightning import Trainer
        from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop

        from audiogen import distributed, rng
        from audiogen.callbacks.samples import SampleLogger
        from audiogen.data.loading import Spectrograms
        from audiogen.metrics.evaluator import Evaluator
        from audiogen.models import kimg

        for name in ("randn", "rand", "randint"):
            self._time(rng, name, "draw", torch.Tensor.numel)
        self._time(Spectrograms, "__getitems__", "read", lambda batch: batch.spec.shape[0])
        averaging = self._timed(distributed.all_reduce_mean_, "pack", None)
        distributed.all_reduce_mean_ = kimg.all_reduce_mean_ = averaging  # type: ignore[attr-defined]
        for owner, name, label in (
            (_EvaluationLoop, "run", "validation"),
            (Evaluator, "set_real", "real clips"),
            (Evaluator, "update", "generated clips"),
            (Evaluator, "compute", "metrics"),
            (Trainer, "save_checkpoint", "checkpoint"),
            (SampleLogger, "show", "pictures"),
        ):
            self._time(owner, name, label)
        self._replace(kimg.KimgModule, "on_train_batch_start", self._step)

    def _time(self, owner: Any, name: str, label: str, size: Callable[[Any], int] | None = None) -> None:
        self._replace(owner, name, lambda function: self._timed(function, label, size))

    def _replace(self, owner: Any, name: str, change: Callable[[Any], Any]) -> None:
        setattr(owner, name, change(getattr(owner, name)))

    def _timed(self, function: Any, label: str, size: Callable[[Any], int] | None) -> Any:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            exchanging, start = self.exchanging, time.perf_counter()
            result = function(*args, **kwargs)
            seconds = time.perf_counter() - start - (self.exchanging - exchanging)
            self.report.spans.append(Span(self.report.step, label, seconds, 0 if size is None else size(result)))
            return result

        return run

    def _counted(self, function: Any) -> Any:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            entered = time.perf_counter()
            result = function(*args, **kwargs)
            left = time.perf_counter()
            self.exchanging += left - entered
            given = args[0] if args else None
            tensors = given if isinstance(given, list) else [given]
            size = sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))
            self.report.calls.append(Call(self.report.step, _purpose(), size, entered, left))
            return result

        return run

    def _step(self, function: Any) -> Any:
        @wraps(function)
        def run(model: Any, *args: Any) -> Any:
            if not self.report.starts:
                self.report.sizes = sizes_of(model)
                self._wait_for_others()
            self.report.starts.append(time.perf_counter())
            return function(model, *args)

        return run

    def _wait_for_others(self) -> None:
        """Begin together, lest some be slowed down by others that load libraries."""
        if self.ready is None:
            return
        self.ready[0].touch()
        until = time.monotonic() + _START_SECONDS
        while not all(path.exists() for path in self.ready[1]):
            if time.monotonic() > until:
                raise TimeoutError(f"the others did not begin within {_START_SECONDS:.0f} s")
            time.sleep(0.01)


def _purpose() -> str:
    """Tell by the stack what an exchange is for."""
    names = set()
    frame: Any = sys._getframe(2)
    while frame is not None:
        names.add(frame.f_code.co_qualname)
        frame = frame.f_back
    return next((purpose for name, purpose in PURPOSES.items() if name in names), "other")


def sizes_of(model: Any) -> dict[str, Any]:
    """Return what the formulas of what is exchanged need to know of a model."""
    from audiogen.networks.batch_norm import BatchNorm2d

    learning = {
        name: child for name, child in model.named_children() if any(p.requires_grad for p in child.parameters())
    }
    sizes: dict[str, Any] = {
        "weights": {name: sum(p.numel() for p in child.parameters()) for name, child in learning.items()},
        "norms": {
            name: [m.num_features for m in child.modules() if isinstance(m, BatchNorm2d)]
            for name, child in learning.items()
        },
        "batch_size": model.batch_size,
    }
    for name in ("r1_interval", "path_length_interval", "style_mixing", "log_every_kimg"):
        sizes[name] = getattr(model, name, 0)
    if hasattr(model, "generator"):
        sizes["w_dim"] = len(model.generator.mapping.w_avg)
        # Added to what the penalties differentiate, these have no gradient.
        for network, ending in (("discriminator", ".out.bias"), ("generator", ".torgb.bias")):
            added = [p.numel() for name, p in learning[network].named_parameters() if name.endswith(ending)]
            sizes["weights"][f"{network}_penalty"] = sizes["weights"][network] - sum(added)
    return sizes


def use_stock(report: Report) -> None:
    """Train by Lightning's own DDP, which exchanges in backward passes, and count what its buckets and buffers hold."""
    from lightning.pytorch.strategies import DDPStrategy
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
    from torch.nn.parallel import DistributedDataParallel

    from audiogen import cli
    from audiogen.models import kimg

    cli.ddp_is = lambda strategy: nullcontext()  # type: ignore
    kimg.all_reduce_mean_ = lambda tensors: None  # type: ignore[attr-defined]
    configure, broadcast = DDPStrategy.configure_ddp, DistributedDataParallel._distributed_broadcast_coalesced

    def note(purpose: str, size: int) -> None:
        now = time.perf_counter()
        report.calls.append(Call(report.step, purpose, size, now, now))

    def hook(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        note("gradients", bucket.buffer().nbytes)
        return allreduce_hook(group, bucket)

    def configured(strategy: Any) -> None:
        configure(strategy)
        strategy.model.register_comm_hook(None, hook)

    def broadcasting(module: Any, tensors: Any, *args: Any, **kwargs: Any) -> None:
        note("buffers", sum(tensor.nbytes for tensor in tensors))
        broadcast(module, tensors, *args, **kwargs)

    DDPStrategy.configure_ddp = configured  # type: ignore
    DistributedDataParallel._distributed_broadcast_coalesced = broadcasting  # type: ignore


def start(kind: str, args: Sequence[str], num: int, folder: Path, together: bool = True) -> list[Report]:
    """Run processes and return their reports.

    Args:
        kind: "train", "stock" or "links".
        args: Of each; of a training its command line.
        num: How many processes.
        folder: For what they write; a new one.
        together: Whether they share a training, or each has its own.

    Raises:
        RuntimeError: With what a process printed, where one failed.
    """
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(num)}
    reports, running = [folder / f"{rank}.json" for rank in range(num)], []
    for rank in range(num):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.scaling_runs", str(reports[rank]), kind, *args]
        if kind != "links":
            command += ["--trainer.default_root_dir", str(folder / ("run" if together else f"run-{rank}"))]
        if together and num > 1:
            environment |= group | {"LOCAL_RANK": str(rank), "RANK": str(rank)}
            if kind != "links":
                command += ["--trainer.devices", str(num), "--trainer.strategy", "ddp_find_unused_parameters_true"]
        else:
            environment["BESIDE"] = str(num)
        with (folder / f"{rank}.log").open("w") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    for rank, process in enumerate(running):
        if process.wait() != 0:
            for other in running:
                other.kill()
            raise RuntimeError(f"process {rank} of {num} failed:\n{(folder / f'{rank}.log').read_text()[-3000:]}")
    return [read_report(path) for path in reports]


def main() -> None:
    torch.set_num_threads(1)
    path, kind, args = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    report = Report()
    beside = [path.with_name(f"{rank}.ready") for rank in range(int(os.environ.get("BESIDE", 0)))]
    clock = Clock(report, (path.with_suffix(".ready"), beside) if beside else None)
    clock.on_collectives()
    if kind == "links":
        dist.init_process_group("gloo")
        for size in map(int, args):
            values = torch.zeros(size // 4)
            for _ in range(REPEATS):
                dist.barrier()
                dist.all_reduce(values)
        dist.destroy_process_group()
    else:
        from audiogen import cli

        clock.on_training()
        if kind == "stock":
            use_stock(report)
        cli.main(args)
    report.write(path)


if __name__ == "__main__":
    main()
