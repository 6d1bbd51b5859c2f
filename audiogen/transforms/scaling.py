"""Map amplitudes to [-1, 1] and back: in decibels, by log1p or linearly, between fixed limits.

`torchaudio.AmplitudeToDB` is not used: its `top_db` depends on the clip, so a clip's level could not be restored.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Scale = Literal["db", "log1p", "linear"]


@dataclass(frozen=True)
class Scaling:
    """An invertible map from amplitudes to [-1, 1]. Silence maps to -1 and back to exactly 0.

    Attributes:
        kind: "db" is linear in decibels, "log1p" in log(1 + gain * amplitude), "linear" in the amplitude itself.
        floor_db: Level mapped to -1, in dB relative to full scale; used by "db" only.
        ceil_db: Level mapped to 1, in dB relative to full scale.
        gain: Factor on the amplitude, > 0; used by "log1p" only. Half the sum of the window gives log(1 + |STFT|) of
            the unnormalised STFT (Jain & Raj, 2019; Lin, 2021; Huzaifah & Wyse, 2020).

    Raises:
        ValueError: If `kind` is unknown, `floor_db` is not below `ceil_db` ("db" only), or `gain` is not positive.
    """

    kind: Scale = "db"
    floor_db: float = -80.0
    ceil_db: float = 10.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Scale):
            raise ValueError(f"scale must be {', '.join(get_args(Scale))}, got {self.kind!r}")
        if self.kind == "db" and self.floor_db >= self.ceil_db:
            raise ValueError(f"floor_db must be below ceil_db, got {self.floor_db} and {self.ceil_db}")
        if self.gain <= 0:
            raise ValueError(f"the gain of log1p must be above 0, got {self.gain}")

    def to_unit(self, amplitude: Tensor) -> Tensor:
        """Scale amplitudes, float >= 0 of any shape, to [-1, 1]. Amplitudes outside the range are clamped."""
        if self.kind == "db":
            return amplitude_to_unit(amplitude, self.floor_db, self.ceil_db)
        bounded = amplitude.clamp(0, self._ceil)
        if self.kind == "log1p":
            return 2 * torch.log1p(self.gain * bounded) / self._log_ceil - 1
        return 2 * bounded / self._ceil - 1

    def to_amplitude(self, unit: Tensor) -> Tensor:
        """Invert `to_unit`. Values outside [-1, 1], which a network may output, are clamped."""
        if self.kind == "db":
            return unit_to_amplitude(unit, self.floor_db, self.ceil_db)
        fraction = (unit.clamp(-1, 1) + 1) / 2
        return torch.expm1(fraction * self._log_ceil) / self.gain if self.kind == "log1p" else fraction * self._ceil

    @property
    def _ceil(self) -> float:
        return 10 ** (self.ceil_db / 20)

    @property
    def _log_ceil(self) -> float:
        return float(torch.log1p(torch.tensor(self.gain * self._ceil, dtype=torch.float64)))


def amplitude_to_unit(amplitude: Tensor, floor_db: float, ceil_db: float) -> Tensor:
    """Convert amplitudes to decibels, scaled linearly to [-1, 1].

    Inverse: `unit_to_amplitude`. Lost: levels outside [floor_db, ceil_db], which are clamped.

    Args:
        amplitude: float >= 0 of any shape; 1 is 0 dB.
        floor_db: Level mapped to -1, as is everything below it.
        ceil_db: Level mapped to 1, as is everything above it.

    Returns:
        float in [-1, 1], same shape.

    Example:
        >>> amplitude_to_unit(torch.tensor([0.0, 0.01, 1.0]), floor_db=-80, ceil_db=0)
        tensor([-1.,  0.,  1.])
    """
    floor, ceil = 10 ** (floor_db / 20), 10 ** (ceil_db / 20)
    decibel = 20 * torch.log10(amplitude.clamp(floor, ceil))
    unit = (2 * (decibel - floor_db) / (ceil_db - floor_db) - 1).clamp(-1, 1)
    return unit.masked_fill(amplitude <= floor, -1)  # exactly -1 despite rounding


def unit_to_amplitude(unit: Tensor, floor_db: float, ceil_db: float) -> Tensor:
    """Invert `amplitude_to_unit`, except that the floor maps to 0, so that silence stays silent.

    Values outside [-1, 1], which a network may output, are clamped.

    Example:
        >>> unit_to_amplitude(torch.tensor([-1.0, 0.0, 1.0]), floor_db=-80, ceil_db=0)
        tensor([0.0000, 0.0100, 1.0000])
    """
    clamped = unit.clamp(-1, 1)
    amplitude = 10 ** (((clamped + 1) * (ceil_db - floor_db) / 2 + floor_db) / 20)
    return torch.where(clamped > -1, amplitude, torch.zeros_like(amplitude))
