"""Measure the level of a sound, ignoring pauses and silent ends."""

from collections.abc import Iterable

import torch
from torch import Tensor

FRAME_SECONDS = 0.05
ACTIVE_DB = 30.0  # frames further below the loudest one are pauses


def active_level(blocks: Iterable[Tensor], sample_rate: int) -> float:
    """Return the RMS level over frames at most 30 dB below the loudest one.

    Unlike `audiogen.audio.loudness.loudness`, this has no absolute gate, so scaling the sound scales the result at any
    level. Sounds of any length are read block by block.

    Args:
        blocks: Consecutive parts of a sound, float [C, T] each, of any T.
        sample_rate: Sample rate in Hz.

    Returns:
        RMS amplitude relative to full scale; 0 for silence and for no blocks.

    Example:
        >>> wav = torch.cat([torch.full((1, 8000), 0.5), torch.zeros(1, 24000)], dim=1)
        >>> active_level([wav], 8000)
        0.5
    """
    size = max(round(FRAME_SECONDS * sample_rate), 1)
    rest: Tensor | None = None
    powers: list[Tensor] = []
    for block in blocks:
        wav = block.double() if rest is None else torch.cat([rest, block.double()], dim=1)
        whole = wav.shape[1] // size * size
        powers.append(wav[:, :whole].unflatten(1, (-1, size)).square().mean(dim=(0, 2)))  # [frames]
        rest = wav[:, whole:]
    if rest is not None and rest.shape[1]:
        powers.append(rest.square().mean()[None])
    power = torch.cat(powers) if powers else torch.zeros(1, dtype=torch.float64)
    active = power[power >= power.max() * 10 ** (-ACTIVE_DB / 10)]
    return float(active.mean().sqrt())
