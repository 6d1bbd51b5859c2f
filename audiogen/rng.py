"""Draw random numbers that do not depend on how many processes split a batch.

Tensors with a batch axis are drawn for the clips of all processes, identically in each, and every process keeps its own
slice. So clips in different processes get different numbers, and a step draws the same numbers as a single process
would.

Use this module instead of `torch.randn` and the like for everything drawn in a training step, in networks too. Other
random operations, such as dropout, also differ between processes, but not as in a single process. Leaf module.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Device = torch.device | str | None
_rank, _num_processes, _number = 0, 1, 0
_generators: dict[torch.device, torch.Generator] = {}


def seed(number: int, rank: int = 0, num_processes: int = 1) -> None:
    """Seed the generators.

    Args:
        number: Seed, the same in all processes.
        rank: Rank of this process.
        num_processes: Number of processes that split each batch.
    """
    global _rank, _num_processes, _number
    _rank, _num_processes, _number = rank, num_processes, number
    _generators.clear()
    torch.manual_seed(number if num_processes == 1 else hash((number, rank)))


def randn(size: Sequence[int], device: Device = None) -> Tensor:
    """Draw from the standard normal distribution.

    Args:
        size: Shape, with this process's batch first. () draws one number, the same in all processes.
        device: Device of the result; None for the CPU.

    Returns:
        float32 tensor of shape `size`.
    """
    return _rank_slice(torch.randn(_full_size(size), device=device, generator=_generator(device)), size)


def rand(size: Sequence[int], device: Device = None) -> Tensor:
    """Draw uniformly from [0, 1); see `randn` for the arguments."""
    return _rank_slice(torch.rand(_full_size(size), device=device, generator=_generator(device)), size)


def randint(low: int, high: int, size: Sequence[int], device: Device = None) -> Tensor:
    """Draw int64 numbers uniformly from [low, high); see `randn` for the other arguments."""
    return _rank_slice(torch.randint(low, high, _full_size(size), device=device, generator=_generator(device)), size)


def _full_size(size: Sequence[int]) -> list[int]:
    return [size[0] * _num_processes, *size[1:]] if size else []


def _rank_slice(drawn: Tensor, size: Sequence[int]) -> Tensor:
    """Return this process's slice, copied so that the rest can be freed."""
    return drawn.chunk(_num_processes)[_rank].clone() if size and _num_processes > 1 else drawn


def _generator(device: Device) -> torch.Generator | None:
    """Return the generator that all processes seed equally, or None (torch's default) for a single process."""
    if _num_processes == 1:
        return None
    key = torch.device(device or "cpu")
    if key not in _generators:
        _generators[key] = torch.Generator(key).manual_seed(_number)
    return _generators[key]
