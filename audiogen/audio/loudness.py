"""Measure loudness by Recommendation ITU-R BS.1770-5, and normalize clips to it.

torchaudio's loudness is not used: its filters only approximate the Recommendation's, it clips filtered samples beyond
full scale, and it returns NaN for clips that are quiet or shorter than one block.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchaudio.functional import lfilter

from audiogen.audio.io import AudioFileError
from audiogen.audio.preprocess import PreprocessStep

BLOCK_SECONDS = 0.4
BLOCK_STEP_SECONDS = 0.1
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU


@dataclass(frozen=True)
class NormalizeLoudness(PreprocessStep):
    """Scale each clip to one loudness, as far as its peak allows.

    Args:
        target_lufs: Loudness of the result in LUFS, in (-70, 0].
        max_peak: Largest absolute sample of the result, in (0, 1]. Clips that would exceed it stay below the target.

    Raises:
        ValueError: If `target_lufs` is outside (-70, 0] or `max_peak` outside (0, 1].
    """

    target_lufs: float = -23.0
    max_peak: float = 0.99

    def __post_init__(self) -> None:
        if not ABSOLUTE_GATE < self.target_lufs <= 0:
            raise ValueError(f"expected target_lufs in ({ABSOLUTE_GATE:g}, 0], got {self.target_lufs}")
        if not 0 < self.max_peak <= 1:
            raise ValueError(f"expected max_peak in (0, 1], got {self.max_peak}")

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return wav, float32 [C, T], multiplied by one factor.

        Raises:
            AudioFileError: If no block of the clip is above -70 LUFS.
        """
        level = loudness(wav, sample_rate)
        if level == -math.inf:
            raise AudioFileError(f"silent (under {ABSOLUTE_GATE:g} LUFS throughout)")
        gain = 10 ** ((self.target_lufs - level) / 20)
        return wav * min(gain, self.max_peak / float(wav.abs().max()))


def loudness(wav: Tensor, sample_rate: int) -> float:
    """Measure the integrated loudness of a sound.

    The sound is split into blocks of 400 ms, one every 100 ms. Blocks at or below -70 LUFS are dropped, then blocks 10
    LU or more below the mean of the rest. The Recommendation leaves sounds shorter than a block undefined; here they
    count as one block.

    Args:
        wav: float [C, T]; each channel has weight 1, as front channels do.
        sample_rate: Sample rate in Hz, above 3364.

    Returns:
        Loudness in LUFS; -inf if no block is above -70 LUFS.

    Raises:
        ValueError: If `sample_rate` is 3364 Hz or lower.

    Example:
        >>> sine = torch.sin(2 * torch.pi * 997 * torch.arange(48000) / 48000)
        >>> round(loudness(sine[None], 48000), 2)
        -3.01
    """
    size = min(round(BLOCK_SECONDS * sample_rate), wav.shape[-1])
    blocks = _k_weighted(wav, sample_rate).unfold(-1, size, round(BLOCK_STEP_SECONDS * sample_rate))  # [C, N, size]
    power = blocks.square().mean(dim=-1).sum(dim=0)  # [N]
    power = power[_lufs(power) > ABSOLUTE_GATE]
    if not len(power):
        return -math.inf
    power = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE]
    return float(_lufs(power.mean()))


def _lufs(power: Tensor) -> Tensor:
    # The offset compensates for the gain of the K-weighting at 997 Hz.
    return 10 * power.log10() - 0.691


def _k_weighted(wav: Tensor, sample_rate: int) -> Tensor:
    """Return K-weighted wav, float64 [C, T]: a +4 dB treble shelf (the head's effect), then a high-pass."""
    wav = wav.double()
    for numerator, denominator in (_shelf(sample_rate), _high_pass(sample_rate)):
        wav = lfilter(wav, denominator, numerator, clamp=False)
    return wav


# The Recommendation gives filter coefficients for 48 kHz only. Other rates need the underlying frequencies, quality
# factors and gains, taken from De Man, "Evaluation of Implementations of the EBU R128 Loudness Measurement" (AES
# convention 145, 2018).


def _shelf(sample_rate: int) -> tuple[Tensor, Tensor]:
    frequency, quality, gain = 1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    if sample_rate <= 2 * frequency:
        raise ValueError(f"expected a sample rate above {2 * frequency:.0f} Hz to measure loudness, got {sample_rate}")
    k = math.tan(math.pi * frequency / sample_rate)
    middle = gain**0.4996667741545416
    numerator = _coefficients(gain + middle * k / quality + k**2, 2 * (k**2 - gain), gain - middle * k / quality + k**2)
    denominator = _coefficients(1 + k / quality + k**2, 2 * (k**2 - 1), 1 - k / quality + k**2)
    return numerator / denominator[0], denominator / denominator[0]


def _high_pass(sample_rate: int) -> tuple[Tensor, Tensor]:
    frequency, quality = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * frequency / sample_rate)
    denominator = _coefficients(1 + k / quality + k**2, 2 * (k**2 - 1), 1 - k / quality + k**2)
    return _coefficients(1, -2, 1), denominator / denominator[0]


def _coefficients(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
