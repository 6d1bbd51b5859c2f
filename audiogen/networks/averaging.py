"""Maintain an exponential moving average of a network's weights."""

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, source: nn.Module, decay: float) -> None:
    """Move the parameters of `average` towards those of `source`, and copy the buffers.

    Args:
        average: Averaged network, with the same architecture as `source`.
        source: Network in training.
        decay: Weight of the previous average, in [0, 1].
    """
    torch._foreach_lerp_(list(average.parameters()), list(source.parameters()), 1 - decay)
    for target, buffer in zip(average.buffers(), source.buffers(), strict=True):
        target.copy_(buffer)


def average_decay(batch_size: int, clips_seen: int, half_life_kimg: float, ramp_up: float | None) -> float:
    """Return the decay per step for a half-life counted in clips, as in StyleGAN2.

    Args:
        batch_size: Clips per step over all processes.
        clips_seen: Real clips shown so far.
        half_life_kimg: Half-life in thousands of clips.
        ramp_up: Limits the half-life to ramp_up * clips_seen early in training; None disables this.

    Returns:
        Decay in [0, 1).

    Example:
        >>> average_decay(batch_size=10, clips_seen=10_000, half_life_kimg=0.01, ramp_up=None)
        0.5
    """
    half_life = half_life_kimg * 1000
    if ramp_up is not None:
        half_life = min(half_life, clips_seen * ramp_up)
    return 0.5 ** (batch_size / max(half_life, 1e-8))
