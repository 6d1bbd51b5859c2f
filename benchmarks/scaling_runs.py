"""Train with several processes and count their collectives. `benchmarks.scaling` starts these trainings.

    python -m benchmarks.scaling_runs REPORT train fit --config ...     one process of a training
    python -m benchmarks.scaling_runs REPORT stock fit --config ...     the same with Lightning's own DDP

Collectives are counted in `torch.distributed`; the calling function determines their purpose.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Functions that exchange, most specific first. One of them is on the stack of every exchange.
PURPOSES = {
    "KimgModule._log_recorded": "log",
    "ManualAllReduce.reduce_boolean_decision": "decision",
    "ParallelStrategy.reduce_boolean_decision": "decision",
    "KimgModule.update": "gradients",
    "_AllReduce.forward": "batch norm",
    "all_reduce_mean": "means",
}
COLLECTIVES = ("all_reduce", "broadcast", "reduce", "all_gather", "all_gather_into_tensor", "gather", "barrier")


@dataclass
class Call:
    """One collective operation.

    Attributes:
        step: The step it belongs to, -1 before the first.
        purpose: One of the values of `PURPOSES`.
        size: Bytes of this process's tensors.
        seconds: Its duration, including the wait for other processes.
    """

    step: int
    purpose: str
    size: int
    seconds: float


@dataclass
class Report:
    """Measurements of one process.

    Attributes:
        starts: Start time of each step in seconds.
        calls: All collectives.
        sizes: Weights of the networks and intervals of the model, by name.
    """

    starts: list[float] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The current step."""
        return len(self.starts) - 1

    @property
    def seconds(self) -> list[float]:
        """Durations of all steps but the last."""
        return [end - start for start, end in pairwise(self.starts)]

    def write(self, path: Path) -> None:
        """Write the report for `read_report`."""
        path.write_text(json.dumps(asdict(self)))


def read_report(path: Path) -> Report:
    """Read what `Report.write` wrote."""
    found = json.loads(path.read_text())
    return Report(found["starts"], [Call(**call) for call in found["calls"]], found["sizes"])


def watch(report: Report) -> None:
    """Record every collective and the start of every step of this process."""
    from audiogen.models.kimg import KimgModule

    for name in COLLECTIVES:
        setattr(dist, name, _counted(getattr(dist, name), report))
    begin = KimgModule.on_train_batch_start

    def step(model: Any, *args: Any) -> Any:
        report.sizes = report.sizes or sizes_of(model)
        report.starts.append(time.perf_counter())
        return begin(model, *args)

    KimgModule.on_train_batch_start = step  # type: ignore


def _counted(function: Any, report: Report) -> Any:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds = time.perf_counter() - start
        given = args[0] if args else None
        tensors = given if isinstance(given, list) else [given]
        size = sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))
        report.calls.append(Call(report.step, _purpose(), size, seconds))
        return result

    return run


def _purpose() -> str:
    """Return the purpose of a collective, from the call stack."""
    names = set()
    frame: Any = sys._getframe(2)
    while frame is not None:
        names.add(frame.f_code.co_qualname)
        frame = frame.f_back
    return next((purpose for name, purpose in PURPOSES.items() if name in names), "other")


def sizes_of(model: Any) -> dict[str, Any]:
    """Return the sizes of a model that the formulas need."""
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
    if hasattr(model.generator, "mapping"):
        sizes["w_dim"] = len(model.generator.mapping.w_avg)
        # Added to what the penalties differentiate, these have no gradient.
        for network, ending in (("discriminator", ".out.bias"), ("generator", ".torgb.bias")):
            added = [p.numel() for name, p in learning[network].named_parameters() if name.endswith(ending)]
            sizes["weights"][f"{network}_penalty"] = sizes["weights"][network] - sum(added)
    return sizes


def use_stock(report: Report) -> None:
    """Train with Lightning's own DDP, which exchanges gradients in the backward pass; count its buckets and buffers."""
    from lightning.pytorch.strategies import DDPStrategy
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
    from torch.nn.parallel import DistributedDataParallel

    from audiogen import cli
    from audiogen.models import kimg

    cli.ddp_is = lambda strategy: nullcontext()  # type: ignore
    kimg.all_reduce_mean_ = lambda tensors: None  # type: ignore[attr-defined]
    configure, broadcast = DDPStrategy.configure_ddp, DistributedDataParallel._distributed_broadcast_coalesced

    def note(purpose: str, size: int) -> None:
        report.calls.append(Call(report.step, purpose, size, 0.0))

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


def start(kind: str, args: Sequence[str], num: int, folder: Path) -> list[Report]:
    """Train with several processes and return their reports.

    Args:
        kind: "train", or "stock" for Lightning's own DDP.
        args: The command line of the training.
        num: Number of processes.
        folder: A new folder for the run and the reports.

    Raises:
        RuntimeError: If a process fails; the message contains its output.
    """
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reports, running = [folder / f"{rank}.json" for rank in range(num)], []
    for rank in range(num):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.scaling_runs", str(reports[rank]), kind, *args]
        command += ["--trainer.default_root_dir", str(folder / "run")]
        if num > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
            environment |= {"WORLD_SIZE": str(num), "LOCAL_RANK": str(rank), "RANK": str(rank)}
            command += ["--trainer.devices", str(num), "--trainer.strategy", "ddp_find_unused_parameters_true"]
        with (folder / f"{rank}.log").open("w") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    for rank, process in enumerate(running):
        if process.wait() != 0:
            for other in running:
                other.kill()
            raise RuntimeError(f"process {rank} of {num} failed:\n{(folder / f'{rank}.log').read_text()[-3000:]}")
    return [read_report(path) for path in reports]


def main() -> None:
    from audiogen import cli

    torch.set_num_threads(1)
    path, kind, args = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    report = Report()
    watch(report)
    if kind == "stock":
        use_stock(report)
    cli.main(args)
    report.write(path)


if __name__ == "__main__":
    main()
