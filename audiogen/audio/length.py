"""Bring waveforms to one length."""

import torch.nn.functional as F
from torch import Tensor


def fit_length(wav: Tensor, num_samples: int) -> Tensor:
    """Crop or pad a waveform at its end with silence.

    Padding is done on the waveform, so that it is silence in every representation.

    Args:
        wav: float [..., T].
        num_samples: Wanted T.

    Returns:
        float [..., num_samples].

    Example:
        >>> import torch
        >>> fit_length(torch.ones(1, 2), 3)
        tensor([[1., 1., 0.]])
    """
    return F.pad(wav, (0, num_samples - wav.shape[-1]))
