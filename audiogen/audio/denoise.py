"""Take noise out of clips by spectral gating, with the noisereduce package (Sainburg & Gentner, 2020).

Where a bin of the STFT is no louder than the noise around it, it is turned down; the gains are smoothed over 500 Hz and
50 ms. That costs some of the sound too: most where it is a pure tone, least where it is broad.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.preprocess import PreprocessStep

N_FFT = 1024  # noisereduce's default
HOP_LENGTH = 256
MIN_SAMPLE_RATE = 6000  # noisereduce smooths over 50 ms and refuses to where that is less than a hop
NOISE_SHARE = 0.2


@dataclass(frozen=True)
class Denoise(PreprocessStep):
    """Gate the noise out of a clip; length and channels stay, each channel is treated alone.

    The clip is treated in one piece, which takes about 4 MB of memory for each second at 16 kHz.

    Args:
        stationary: False takes the mean of each frequency over about 2 s for noise: hum and hiss that come and go are
            followed, and a sound that goes on for longer than that is taken for noise. True measures the noise once per
            clip, in its quietest fifth (1024 samples at least): noisereduce itself would take the whole clip for noise,
            and gate away sounds that fill more than a third of it.
        reduction: Share of the noise that is taken out, in (0, 1].
        padding: Samples of silence around a clip while noisereduce works, 30000 by its default. Without `stationary`
            they are part of the mean, so that short clips keep most of their noise: white noise of 1 s at 16 kHz falls
            by 4 dB, and by 25 dB with 0. But then the first and last 50 ms of a clip lose up to 6 dB.

    Raises:
        ImportError: Where noisereduce is not installed.
        ValueError: For arguments out of range.
    """

    stationary: bool = False
    reduction: float = 1.0
    padding: int = 30000

    def __post_init__(self) -> None:
        if not 0 < self.reduction <= 1:
            raise ValueError(f"expected reduction in (0, 1], got {self.reduction}")
        if self.padding < 0:
            raise ValueError(f"expected padding >= 0, got {self.padding}")
        try:
            import noisereduce  # noqa: F401
        except ImportError:
            raise ImportError(
                "Denoise needs the 'denoise' extra: pip install 'audiogen[denoise]'"
            ) from None  # the command line tells the first error of a chain

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return wav [C, T] with less noise.

        Raises:
            ValueError: Below 6 kHz.
        """
        if sample_rate < MIN_SAMPLE_RATE:
            raise ValueError(f"expected a sample rate of at least {MIN_SAMPLE_RATE} Hz to denoise, got {sample_rate}")
        # noisereduce divides 0 by 0 in digital silence.
        channels = [self._gate(channel, sample_rate) if channel.any() else channel for channel in wav.numpy()]
        return torch.from_numpy(np.stack(channels))

    def _gate(self, channel: NDArray, sample_rate: int) -> NDArray:
        """Return float32 [T] with less noise than channel, float32 [T]."""
        import noisereduce

        length = len(channel)
        # noisereduce needs a whole window, and gives back whole hops with zeros behind them.
        missing = max(N_FFT - length, -(length + 2 * self.padding) % HOP_LENGTH)
        return noisereduce.reduce_noise(
            np.pad(channel, (0, missing)),
            sample_rate,
            stationary=self.stationary,
            y_noise=_quietest(channel),
            prop_decrease=self.reduction,
            n_fft=N_FFT,
            hop_length=HOP_LENGTH,
            padding=self.padding,
            chunk_size=None,  # no pieces: one of digital silence would be 0 / 0 again
        )[:length]


def _quietest(channel: NDArray) -> NDArray:
    """Return the quietest fifth of channel [T], in one piece of at least a window, leaving out digital silence."""
    num_blocks = max(math.ceil(len(channel) / HOP_LENGTH), N_FFT // HOP_LENGTH)
    blocks = np.resize(channel, (num_blocks, HOP_LENGTH))  # begins anew where the channel ends
    blocks = blocks[blocks.any(axis=1)]
    size = min(len(blocks), max(round(NOISE_SHARE * len(blocks)), N_FFT // HOP_LENGTH))
    energy = np.convolve(np.square(blocks).sum(axis=1), np.ones(size), mode="valid")
    start = int(energy.argmin())
    return np.resize(blocks[start : start + size], max(size * HOP_LENGTH, N_FFT))
