"""Data-parallel training: every process has the whole model, a share of each batch, and the same weights."""

from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import tensor

from audiogen.distributed import broadcast_

# Another process may be evaluating, or saving over a slow network; one that died is noticed long before (see below).
TIMEOUT = timedelta(minutes=30)


class ManualAllReduce(DDPStrategy):
    """Replicas that exchange gradients when a model asks for it: once for each optimiser step (`KimgModule.update`).

    `DistributedDataParallel` exchanges the gradients of all weights in each backward pass, of which a GAN has four to
    six in a step, and wants to be told which weights a pass leaves out. Here nothing is wrapped.

    Decisions are made over a process group on the processors, which a GPU need not be waited for. Where a process dies,
    the others see its connection close there at the end of the batch, unless a GPU waits for it before: then the
    launcher ends them.
    """

    strategy_name = "ddp"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"timeout": TIMEOUT} | kwargs)
        self._deciding: Any = None

    def configure_ddp(self) -> None:
        """Let all begin with the weights of the first."""
        assert self.model is not None
        broadcast_([*self.model.parameters(), *self.model.buffers()])

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Return whether all processes say yes, or with `all=False` whether any does."""
        if self._deciding is None:
            self._deciding = dist.new_group(backend="gloo", timeout=TIMEOUT)
        votes = tensor([int(decision)])
        dist.all_reduce(votes, dist.ReduceOp.MIN if all else dist.ReduceOp.MAX, group=self._deciding)
        return bool(votes)

    def teardown(self) -> None:
        """Forget the process group."""
        self._deciding = None
        super().teardown()
