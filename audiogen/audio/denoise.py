"""Remove noise from clips by spectral gating, with the noisereduce package (Sainburg & Gentner, 2020).

STFT bins no louder than the surrounding noise are attenuated, with gains smoothed over 500 Hz and 50 ms. Gating also
attenuates some of the sound: pure tones lose most, broadband sounds least.
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
MIN_SAMPLE_RATE = 6000  # noisereduce smooths over 50 ms and rejects rates at which that is less than one hop
NOISE_FRACTION = 0.2  # of the clip, used to measure stationary noise


@dataclass(frozen=True)
class Denoise(PreprocessStep):
    """Gate noise out of a clip, each channel independently; shape and sample rate stay the same.

    The whole clip is processed at once, which takes about 4 MB of memory per second at 16 kHz.

    Args:
        stationary: If False, each frequency's mean over about 2 s is treated as noise. This follows hum and hiss that
            come and go, but removes any sound that lasts longer than 2 s. If True, noise is measured once per clip, in
            its quietest fifth (at least 1024 samples). noisereduce itself would measure it over the whole clip and so
            remove sounds that fill more than a third of it.
        reduction: Fraction of the noise to remove, in (0, 1].
        padding: Samples of silence added at both ends during processing; 30000 is noisereduce's default. Unless
            `stationary`, the padding lowers the mean, so short clips keep most of their noise: 1 s of white noise at
            16 kHz drops by 4 dB, and by 25 dB with padding 0. With padding 0, the first and last 50 ms lose up to 6 dB.

    Raises:
        ImportError: If noisereduce is not installed.
        ValueError: If `reduction` is outside (0, 1] or `padding` is negative.
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
            ) from None  # the command line prints the first error of a chain

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return wav, float32 [C, T], with less noise.

        Raises:
            ValueError: If `sample_rate` is below 6000 Hz.
        """
        if sample_rate < MIN_SAMPLE_RATE:
            raise ValueError(f"expected a sample rate of at least {MIN_SAMPLE_RATE} Hz to denoise, got {sample_rate}")
        # Skip digital silence: noisereduce would divide 0 by 0.
        channels = [self._gate(channel, sample_rate) if channel.any() else channel for channel in wav.numpy()]
        return torch.from_numpy(np.stack(channels))

    def _gate(self, channel: NDArray, sample_rate: int) -> NDArray:
        import noisereduce

        length = len(channel)
        # noisereduce needs at least one window, and zeroes the remainder after the last whole hop.
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
            chunk_size=None,  # a chunk of digital silence would be 0 / 0 again
        )[:length]


def _quietest(channel: NDArray) -> NDArray:
    """Return the quietest contiguous fifth of channel [T], at least one window long, ignoring digital silence."""
    num_blocks = max(math.ceil(len(channel) / HOP_LENGTH), N_FFT // HOP_LENGTH)
    blocks = np.resize(channel, (num_blocks, HOP_LENGTH))  # wraps around at the end of the channel
    blocks = blocks[blocks.any(axis=1)]
    size = min(len(blocks), max(round(NOISE_FRACTION * len(blocks)), N_FFT // HOP_LENGTH))
    energy = np.convolve(np.square(blocks).sum(axis=1), np.ones(size), mode="valid")
    start = int(energy.argmin())
    return np.resize(blocks[start : start + size], max(size * HOP_LENGTH, N_FFT))
