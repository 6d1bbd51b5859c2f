"""What a phase method is: it makes sound of a spectrogram."""

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
    """A way to find a waveform that has a given spectrogram.

    Attributes:
        needs_linear_frequency: Whether it works on an STFT alone.
    """

    needs_linear_frequency: bool = False

    @abstractmethod
    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn a spectrogram into a waveform; a clip's sound does not depend on its batch.

        Args:
            transform: What the spectrogram is of.
            spec: float [B, C, F, L].
            prefix: The beginning of the waveform, float [B, C, K], where it is there already: what comes after should go
                on from it. Only its first half has to stay as it is.

        Returns:
            wav, float [B, C, T].
        """


def blend(wav: Tensor, prefix: Tensor | None) -> Tensor:
    """Replace the beginning of a waveform by what is known of it, which fades out over its second half.

    Args:
        wav: float [..., T].
        prefix: float [..., K], or None.

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
