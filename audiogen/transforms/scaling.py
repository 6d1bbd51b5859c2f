"""Map amplitudes to [-1, 1] and back: decibels, log1p or linear, between fixed ends.

`torchaudio.AmplitudeToDB` is not used: its `top_db` depends on the clip, so the level of a clip could not be restored.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Scale = Literal["db", "log1p", "linear"]


@dataclass(frozen=True)
class Scaling:
    """An invertible map from amplitudes to [-1, 1]; silence is -1, and comes back as exactly 0.

    Attributes:
        kind: "db" is linear in decibels, "log1p" in log(1 + gain * amplitude), "linear" in the amplitude itself.
        floor_db: Of "db" alone: the level that becomes -1.
        ceil_db: The level that becomes 1, in dB relative to full scale.
        gain: Of "log1p" alone. With half the sum of the window it is log(1 + |STFT|) of the unnormalised STFT
            (Jain & Raj, 2019; Lin, 2021; Huzaifah & Wyse, 2020).

    Raises:
        ValueError: For values out of range.
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
        """Scale amplitudes, float >= 0 of any shape, to [-1, 1]; what lies beyond the ends becomes the ends."""
        if self.kind == "db":
            return amplitude_to_unit(amplitude, self.floor_db, self.ceil_db)
        bounded = amplitude.clamp(0, self._ceil)
        if self.kind == "log1p":
            return 2 * torch.log1p(self.gain * bounded) / self._log_ceil - 1
        return 2 * bounded / self._ceil - 1

    def to_amplitude(self, unit: Tensor) -> Tensor:
        """Undo `to_unit`; values outside [-1, 1] (a network may produce them) are taken as the nearest end."""
        if self.kind == "db":
            return unit_to_amplitude(unit, self.floor_db, self.ceil_db)
        share = (unit.clamp(-1, 1) + 1) / 2
        return torch.expm1(share * self._log_ceil) / self.gain if self.kind == "log1p" else share * self._ceil

    @property
    def _ceil(self) -> float:
        return 10 ** (self.ceil_db / 20)

    @property
    def _log_ceil(self) -> float:
        return float(torch.log1p(torch.tensor(self.gain * self._ceil, dtype=torch.float64)))


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
