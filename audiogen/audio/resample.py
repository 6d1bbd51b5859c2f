"""Change the sample rate of a waveform."""

import soxr
import torch
from torch import Tensor


def resample(wav: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample with soxr at high quality.

    Args:
        wav: float32 [C, T].
        from_rate: Rate of `wav` in Hz.
        to_rate: Wanted rate in Hz.

    Returns:
        float32 [C, T * to_rate / from_rate, rounded].

    Example:
        >>> resample(torch.zeros(1, 8000), 8000, 16000).shape
        torch.Size([1, 16000])
    """
    if from_rate == to_rate:
        return wav
    resampled = soxr.resample(wav.T.numpy(), from_rate, to_rate, quality="HQ")  # [T, C]
    return torch.from_numpy(resampled.T.copy())
