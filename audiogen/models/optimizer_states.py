"""Check optimiser states in a checkpoint, because an untrusted file must not choose how they compute."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Settings that change how a step is computed, but not its result. They depend on the device, not the checkpoint.
_IMPLEMENTATIONS = ("foreach", "fused", "capturable")


def check_optimizer_states(states: Any, configured: Any) -> None:
    """Refuse states of other optimisers than the model's, and set the model's own implementations.

    Learning rates, betas and moments are part of the training progress and are kept. Flags such as `maximize`, which
    reverses training, must equal the model's.

    Args:
        states: `optimizer_states` of a checkpoint; changed in place.
        configured: Return value of the model's `configure_optimizers`.

    Raises:
        ValueError: If a state has another structure, other flags, or values that are not finite.
    """
    optimizers = _optimizers(configured)
    if not optimizers and states == [{}]:  # Lightning saves this for a model without optimisers
        return
    if not isinstance(states, list) or len(states) != len(optimizers):
        num = len(states) if isinstance(states, list) else "none"
        raise ValueError(f"expected the state of {len(optimizers)} optimisers in the checkpoint, got {num}")
    for state, optimizer in zip(states, optimizers, strict=True):
        groups = state.get("param_groups") if isinstance(state, dict) else None
        if not isinstance(groups, list) or len(groups) != len(optimizer.param_groups):
            raise ValueError(f"the checkpoint has no state of {type(optimizer).__name__}: {groups!r:.80}")
        for group, configured_group in zip(groups, optimizer.param_groups, strict=True):
            _check_group(group, configured_group)
        for name, value in _values(state.get("state")):
            if isinstance(value, Tensor) and not _is_finite(value):
                raise ValueError(f"the checkpoint's optimiser state is not finite in {name}")


def _optimizers(configured: Any) -> list[Optimizer]:
    """Return the optimisers from any structure that Lightning accepts."""
    if isinstance(configured, Optimizer):
        return [configured]
    parts = configured.values() if isinstance(configured, dict) else configured
    return (
        [found for part in parts for found in _optimizers(part)] if isinstance(configured, dict | list | tuple) else []
    )


def _check_group(group: Any, configured_group: dict[str, Any]) -> None:
    """Compare the settings of a parameter group."""
    if not isinstance(group, dict) or group.keys() != configured_group.keys():
        raise ValueError(
            f"expected optimiser settings {', '.join(configured_group)} in the checkpoint, got {list(group)!r:.200}"
        )
    for name, value in configured_group.items():
        saved = group[name]
        if name in _IMPLEMENTATIONS:
            group[name] = value
        elif name == "params":
            if not isinstance(saved, list) or len(saved) != len(value):
                raise ValueError(f"expected {len(value)} optimised weights in the checkpoint, got {saved!r:.80}")
        elif isinstance(value, bool | str | None):
            if saved is not value and saved != value:
                raise ValueError(f"the checkpoint sets the optimiser's {name} to {saved!r:.80}, the model has {value}")
        elif not _is_number(saved, value):
            raise ValueError(f"expected a number as the optimiser's {name} in the checkpoint, got {saved!r:.80}")


def _is_number(saved: Any, value: Any) -> bool:
    """Return whether a setting is a finite number, or a sequence of as many finite numbers as the model's."""
    if isinstance(value, list | tuple):
        same = isinstance(saved, list | tuple) and len(saved) == len(value)
        return same and all(_is_number(one, 0.0) for one in saved)
    if isinstance(saved, Tensor):
        return saved.numel() == 1 and bool(saved.isfinite().all())
    return type(saved) in (int, float) and math.isfinite(saved)


def _is_finite(value: Tensor) -> bool:
    """Return whether a tensor contains only finite numbers. Sparse and meta tensors count as not finite."""
    return value.layout == torch.strided and value.device.type != "meta" and bool(value.isfinite().all())


def _values(state: Any) -> list[tuple[str, Any]]:
    """Return all values in an optimiser's state with their names."""
    if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
        raise ValueError(f"expected the state of an optimiser for each weight in the checkpoint, got {state!r:.80}")
    return [(f"{index}.{name}", value) for index, part in state.items() for name, value in part.items()]
