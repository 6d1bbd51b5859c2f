"""Map amplitudes to [-1, 1] by decibels between a fixed floor and a fixed ceiling.

`torchaudio.AmplitudeToDB` is not used: its `top_db` depends on the clip, so the level of a clip could not be restored.
"""

import torch
from torch import Tensor


def amplitude_to_unit(amplitude: Tensor, floor_db: float, ceil_db: float) -> Tensor:
    """Scale amplitudes to decibels and these linearly to [-1, 1].

    Inverse: `unit_to_amplitude`. Lost: what lies under the floor (becomes the floor, -1) or over the ceiling (1).

    Args:
        amplitude: float, any shape, >= 0; 1 is 0 dB.
        floor_db: Mapped to -1; silence.
        ceil_db: Mapped to 1.

    Returns:
        float in [-1, 1], same shape.

    Example:
        >>> amplitude_to_unit(torch.tensor([0.0, 0.01, 1.0]), floor_db=-80, ceil_db=0)
        tensor([-1.,  0.,  1.])
    """
    floor, ceil = 10 ** (floor_db / 20), 10 ** (ceil_db / 20)
    decibel = 20 * torch.log10(amplitude.clamp(floor, ceil))
    unit = (2 * (decibel - floor_db) / (ceil_db - floor_db) - 1).clamp(-1, 1)
    return unit.masked_fill(amplitude <= floor, -1)  # exactly, whatever the rounding


def unit_to_amplitude(unit: Tensor, floor_db: float, ceil_db: float) -> Tensor:
    """Undo `amplitude_to_unit`; the floor itself becomes 0, so that silence stays silent.

    Values outside [-1, 1] (a network may produce them) are taken as the nearest end.

    Example:
        >>> unit_to_amplitude(torch.tensor([-1.0, 0.0, 1.0]), floor_db=-80, ceil_db=0)
        tensor([0.0000, 0.0100, 1.0000])
    """
    clamped = unit.clamp(-1, 1)
    amplitude = 10 ** (((clamped + 1) * (ceil_db - floor_db) / 2 + floor_db) / 20)
    return torch.where(clamped > -1, amplitude, torch.zeros_like(amplitude))
