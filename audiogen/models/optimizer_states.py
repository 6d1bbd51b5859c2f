"""Check the state of optimisers in a checkpoint: a file from others must not choose how they compute."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Ways to compute the same step. They depend on the device, so each machine chooses its own.
_IMPLEMENTATIONS = ("foreach", "fused", "capturable")


def check_optimizer_states(states: Any, configured: Any) -> None:
    """Refuse optimiser states that are not those of a model's optimisers, and take the model's own implementations.

    Learning rates, betas and moments are the training's progress and stay. Flags such as `maximize`, which turns the
    training round, must be the model's.

    Args:
        states: `optimizer_states` of a checkpoint, changed in place.
        configured: What the model's `configure_optimizers` returns.

    Raises:
        ValueError: If a state has another form, other flags, or numbers that are not finite.
    """
    own = _optimizers(configured)
    if not own and states == [{}]:  # what Lightning saves of a model without any
        return
    if not isinstance(states, list) or len(states) != len(own):
        num = len(states) if isinstance(states, list) else "none"
        raise ValueError(f"expected the state of {len(own)} optimisers in the checkpoint, got {num}")
    for state, optimizer in zip(states, own, strict=True):
        groups = state.get("param_groups") if isinstance(state, dict) else None
        if not isinstance(groups, list) or len(groups) != len(optimizer.param_groups):
            raise ValueError(f"the checkpoint has no state of {type(optimizer).__name__}: {groups!r:.80}")
        for group, mine in zip(groups, optimizer.param_groups, strict=True):
            _check_group(group, mine)
        for name, value in _values(state.get("state")):
            if isinstance(value, Tensor) and not _is_finite(value):
                raise ValueError(f"the checkpoint's optimiser has no finite numbers in {name}")


def _optimizers(configured: Any) -> list[Optimizer]:
    """Return the optimisers in any form that Lightning takes them in."""
    if isinstance(configured, Optimizer):
        return [configured]
    parts = configured.values() if isinstance(configured, dict) else configured
    return (
        [found for part in parts for found in _optimizers(part)] if isinstance(configured, dict | list | tuple) else []
    )


def _check_group(group: Any, mine: dict[str, Any]) -> None:
    """Compare the settings of a group of parameters."""
    if not isinstance(group, dict) or group.keys() != mine.keys():
        raise ValueError(f"expected optimiser settings {', '.join(mine)} in the checkpoint, got {list(group)!r:.200}")
    for name, value in mine.items():
        theirs = group[name]
        if name in _IMPLEMENTATIONS:
            group[name] = value
        elif name == "params":
            if not isinstance(theirs, list) or len(theirs) != len(value):
                raise ValueError(f"expected {len(value)} optimised weights in the checkpoint, got {theirs!r:.80}")
        elif isinstance(value, bool | str | None):
            if theirs is not value and theirs != value:
                raise ValueError(f"the checkpoint sets the optimiser's {name} to {theirs!r:.80}, the model has {value}")
        elif not _is_number(theirs, value):
            raise ValueError(f"expected a number as the optimiser's {name} in the checkpoint, got {theirs!r:.80}")


def _is_number(theirs: Any, value: Any) -> bool:
    """Return whether a setting is a finite number, or as many of them, as the model's is."""
    if isinstance(value, list | tuple):
        same = isinstance(theirs, list | tuple) and len(theirs) == len(value)
        return same and all(_is_number(one, 0.0) for one in theirs)
    if isinstance(theirs, Tensor):
        return theirs.numel() == 1 and bool(theirs.isfinite().all())
    return type(theirs) in (int, float) and math.isfinite(theirs)


def _is_finite(value: Tensor) -> bool:
    """Return whether a tensor holds finite numbers; a sparse one or one without content does not."""
    return value.layout == torch.strided and value.device.type != "meta" and bool(value.isfinite().all())


def _values(state: Any) -> list[tuple[str, Any]]:
    """Return all values in the state of an optimiser by their names."""
    if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
        raise ValueError(f"expected the state of an optimiser for each weight in the checkpoint, got {state!r:.80}")
    return [(f"{index}.{name}", value) for index, part in state.items() for name, value in part.items()]
