"""Change the sample rate of waveforms with soxr."""

from collections.abc import Iterable, Iterator

import soxr
import torch
from torch import Tensor


def resample(wav: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample at soxr's high quality.

    Args:
        wav: float32 [C, T].
        from_rate: Sample rate of `wav` in Hz.
        to_rate: Sample rate of the result in Hz.

    Returns:
        float32 [C, T'] with T' = T * to_rate / from_rate, rounded.

    Example:
        >>> resample(torch.zeros(1, 8000), 8000, 16000).shape
        torch.Size([1, 16000])
    """
    if from_rate == to_rate:
        return wav
    resampled = soxr.resample(wav.T.numpy(), from_rate, to_rate, quality="HQ")  # [T, C]
    return torch.from_numpy(resampled.T.copy())


def resample_parts(wavs: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Resample a waveform in consecutive parts, as one continuous signal.

    Args:
        wavs: Consecutive parts, float32 [C, T].
        from_rate: Sample rate of `wavs` in Hz.
        to_rate: Sample rate of the result in Hz.

    Yields:
        Consecutive parts of the result, float32 [C, T']; their boundaries differ from the input's.
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
