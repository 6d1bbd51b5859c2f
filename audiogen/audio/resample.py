"""Change the sample rate of a waveform."""

from collections.abc import Iterable, Iterator

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


def resample_parts(wavs: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Resample a waveform that comes in parts as if it came whole.

    Args:
        wavs: Consecutive parts, float32 [C, T].
        from_rate: Their rate in Hz.
        to_rate: Wanted rate in Hz.

    Yields:
        Parts of other lengths, float32 [C, T].
    """
    if from_rate == to_rate:
        yield from wavs
        return
    stream = None
    for wav in wavs:
        stream = stream or soxr.ResampleStream(from_rate, to_rate, len(wav), quality="HQ")
        yield torch.from_numpy(stream.resample_chunk(wav.T.numpy()).reshape(-1, len(wav)).T.copy())
    if stream is not None:
        rest = stream.resample_chunk(wav[:, :0].T.numpy(), last=True)
        yield torch.from_numpy(rest.reshape(-1, len(wav)).T.copy())
