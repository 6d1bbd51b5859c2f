"""What a phase method is: it makes sound of a spectrogram."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from audiogen.transforms.transform import SpectrogramTransform


class PhaseMethod(ABC):
    """A way to find a waveform that has a given spectrogram.

    Attributes:
        needs_linear_frequency: Whether it works on an STFT alone.
    """

    needs_linear_frequency: bool = False

    @abstractmethod
    def __call__(self, transform: SpectrogramTransform, spec: Tensor) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; a clip's sound does not depend on its batch."""
