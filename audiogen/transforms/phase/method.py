"""Define the interface of phase methods, which turn spectrograms into waveforms."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from audiogen.transforms.analysis import Analysis


class InvertibleTransform(Protocol):
    """The parts of a spectrogram transform that phase methods use; see `SpectrogramTransform`."""

    hop_length: int
    linear_frequency: bool

    def __call__(self, wav: Tensor) -> Tensor:
        """Turn wav, float [B, C, T], into spec, float [B, C, F, L]."""

    def target(self, spec: Tensor) -> tuple[Tensor, Analysis]:
        """Return the magnitudes behind spec [B, C, F, L], float [B C, L + 1, K], and their analysis."""


class PhaseMethod(ABC):
    """Find a waveform that has a given spectrogram.

    Attributes:
        needs_linear_frequency: Whether the method requires an STFT, with evenly spaced bins.
    """

    needs_linear_frequency: bool = False

    @abstractmethod
    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn a spectrogram into a waveform. The result for a clip does not depend on the rest of the batch.

        Args:
            transform: Transform that defines the spectrogram.
            spec: float [B, C, F, L].
            prefix: Beginning of the waveform if already known, float [B, C, T'] with T' <= T. The result continues it
                and must reproduce only its first half.

        Returns:
            wav, float [B, C, T].
        """


def blend(wav: Tensor, prefix: Tensor | None) -> Tensor:
    """Replace the beginning of a waveform with a prefix that fades out linearly over its second half.

    Args:
        wav: float [..., T].
        prefix: float [..., T'] with T' <= T; None returns `wav` unchanged.

    Returns:
        float [..., T].

    Example:
        >>> import torch
        >>> blend(torch.zeros(6), torch.ones(4))
        tensor([1.0000, 1.0000, 0.7500, 0.2500, 0.0000, 0.0000])
    """
    if prefix is None:
        return wav
    num = prefix.shape[-1]
    fall = num - num // 2
    weight = torch.ones(num, dtype=wav.dtype, device=wav.device)
    weight[num // 2 :] = 1 - (torch.arange(fall, dtype=wav.dtype, device=wav.device) + 0.5) / fall
    return torch.cat([torch.lerp(wav[..., :num], prefix.to(wav), weight), wav[..., num:]], dim=-1)
