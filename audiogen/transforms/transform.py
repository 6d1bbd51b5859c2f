"""The interface between sounds and networks: one spectrogram definition, forward and inverse."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class SpectrogramTransform(nn.Module, ABC):
    """A waveform <-> spectrogram pair with a fixed output shape and range.

    A subclass sets the attributes below and both directions. Its arguments are plain values, since they travel in the
    checkpoint, and it holds no parameters.

    Attributes:
        sample_rate: Of the waveform, in Hz.
        num_samples: T, the length of the waveform that makes `shape`.
        shape: (C, F, L) of one spectrogram.
    """

    sample_rate: int
    num_samples: int
    shape: tuple[int, int, int]

    @abstractmethod
    def forward(self, wav: Tensor) -> Tensor:
        """Turn wav [B, C, T] in [-1, 1] into spec [B, C, F, L] in [-1, 1], where -1 is silence."""

    @abstractmethod
    def inverse(self, spec: Tensor) -> Tensor:
        """Turn spec [B, C, F, L] into wav [B, C, T]; the result for a clip does not depend on its batch."""

    @abstractmethod
    def frequencies(self) -> Tensor:
        """Return the centre frequency of each band in Hz, float [F], ascending (for axes of pictures)."""

    @property
    def seconds(self) -> float:
        """Duration of one spectrogram."""
        return self.num_samples / self.sample_rate
