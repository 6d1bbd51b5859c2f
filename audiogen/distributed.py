"""Exchange values between the processes of a training. With one process, each function returns its input.

All functions use `torch.distributed`, whoever initialised it. Leaf module, also used by networks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce


def num_processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the rank of this process; 0 if it trains alone."""
    return dist.get_rank() if num_processes() > 1 else 0


def rank_batches(num: int, size: int, rank: int, world_size: int) -> Iterator[Tensor]:
    """Yield this rank's slice of the indices 0 ... num - 1 in batches, int64 [<= size].

    All ranks get equally many batches, so the last one may be empty.

    Example:
        >>> [batch.tolist() for batch in rank_batches(5, 2, rank=1, world_size=2)]
        [[1, 3], []]
    """
    for start in range(0, num, size * world_size):
        yield torch.arange(num)[start : start + size * world_size][rank::world_size]


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors with their means over all processes, in a single all-reduce.

    Args:
        tensors: float tensors, with the same shapes in every process.
    """
    if num_processes() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= num_processes()
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def all_reduce_mean(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradient."""
    mean = value.detach().clone()
    all_reduce_mean_([mean])
    return mean


def all_reduce_sum(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, with gradients to all of them."""
    return value if num_processes() == 1 else all_reduce(value)


def all_gather(thing: Any) -> list[Any]:
    """Return the value of each process in rank order. Values can be anything that can be pickled."""
    if num_processes() == 1:
        return [thing]
    found: list[Any] = [None] * num_processes()
    dist.all_gather_object(found, thing)
    return found


def broadcast_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors with those of rank 0."""
    for tensor in tensors if num_processes() > 1 else ():
        dist.broadcast(tensor.detach(), 0)
