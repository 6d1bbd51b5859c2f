"""Random numbers that do not depend on how many processes share a batch.

A tensor with a batch axis is drawn for the clips of all processes, the same in each, and every process takes its share
of it. So clips of different processes get different numbers, and those of a step together get what one process would
have drawn.

Leaf module: what draws in a training step uses it in place of `torch.randn` and its like, in networks too. Anything
else that draws, such as dropout, differs between processes too, but not as it does in one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Device = torch.device | str | None
_rank, _num_processes, _number = 0, 1, 0
_generators: dict[torch.device, torch.Generator] = {}


def seed(number: int, rank: int = 0, num_processes: int = 1) -> None:
    """Begin anew.

    Args:
        number: The same in all processes.
        rank: Of this process.
        num_processes: That share each batch.
    """
    global _rank, _num_processes, _number
    _rank, _num_processes, _number = rank, num_processes, number
    _generators.clear()
    torch.manual_seed(number if num_processes == 1 else hash((number, rank)))


def randn(size: Sequence[int], device: Device = None) -> Tensor:
    """Draw from the standard normal distribution.

    Args:
        size: The first axis is the batch of this process; () draws one number, the same in all processes.
        device: Where; the CPU by default.
    """
    return _share(torch.randn(_of_all(size), device=device, generator=_generator(device)), size)


def rand(size: Sequence[int], device: Device = None) -> Tensor:
    """Draw from [0, 1); arguments as of `randn`."""
    return _share(torch.rand(_of_all(size), device=device, generator=_generator(device)), size)


def randint(low: int, high: int, size: Sequence[int], device: Device = None) -> Tensor:
    """Draw integers from [low, high); other arguments as of `randn`."""
    return _share(torch.randint(low, high, _of_all(size), device=device, generator=_generator(device)), size)


def _of_all(size: Sequence[int]) -> list[int]:
    return [size[0] * _num_processes, *size[1:]] if size else []


def _share(drawn: Tensor, size: Sequence[int]) -> Tensor:
    """Return the part of this process; a copy, lest the rest be kept in memory."""
    return drawn.chunk(_num_processes)[_rank].clone() if size and _num_processes > 1 else drawn


def _generator(device: Device) -> torch.Generator | None:
    """Return what all processes draw from; alone it is torch's own."""
    if _num_processes == 1:
        return None
    place = torch.device(device or "cpu")
    if place not in _generators:
        _generators[place] = torch.Generator(place).manual_seed(_number)
    return _generators[place]
