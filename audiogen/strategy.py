"""Train data-parallel: every process has the whole model, its slice of each batch, and the same weights."""

from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import tensor

from audiogen.distributed import broadcast_

# Allows for another process that evaluates or saves over a slow network. A dead process is noticed sooner, see below.
TIMEOUT = timedelta(minutes=30)


class ManualAllReduce(DDPStrategy):
    """Data parallelism in which the model all-reduces gradients itself, once per optimiser step (`KimgModule.update`).

    NVIDIA's StyleGAN code does the same. `DistributedDataParallel` would all-reduce in each backward pass, of which a
    GAN has four to six per step, and must know which weights a pass leaves out. Here the model is not wrapped.

    Votes use a CPU (gloo) group, so they never wait for the GPU. If a process dies, the others see the group's
    connection close at the end of the batch. If a GPU operation is already waiting for the dead process, the launcher
    ends the others instead.
    """

    strategy_name = "ddp"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"timeout": TIMEOUT} | kwargs)
        self._vote_group: Any = None

    def configure_ddp(self) -> None:
        """Copy the weights and buffers of rank 0 to all processes."""
        assert self.model is not None
        broadcast_([*self.model.parameters(), *self.model.buffers()])

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Return whether all processes vote True or, with `all=False`, whether any does."""
        if self._vote_group is None:
            self._vote_group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        votes = tensor([int(decision)])
        dist.all_reduce(votes, dist.ReduceOp.MIN if all else dist.ReduceOp.MAX, group=self._vote_group)
        return bool(votes)

    def teardown(self) -> None:
        """Drop the vote group."""
        self._vote_group = None
        super().teardown()
