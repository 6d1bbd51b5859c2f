"""Crop or pad waveforms to a fixed length."""

import torch.nn.functional as F
from torch import Tensor


def fit_length(wav: Tensor, num_samples: int) -> Tensor:
    """Crop a waveform at its end, or pad it there with silence.

    Padding the waveform instead of the spectrogram makes it silence in every representation.

    Args:
        wav: float [..., T].
        num_samples: Length of the result in samples.

    Returns:
        float [..., num_samples].

    Example:
        >>> import torch
        >>> fit_length(torch.ones(1, 2), 3)
        tensor([[1., 1., 0.]])
    """
    return F.pad(wav, (0, num_samples - wav.shape[-1]))
