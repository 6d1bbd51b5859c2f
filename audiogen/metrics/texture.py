"""How far a sound's texture is from another's, by statistics that no style loss optimises.

After McDermott & Simoncelli, "Sound texture perception via statistics of the auditory periphery" (2011): moments of the
envelopes in frequency bands, and their modulation spectra. Deviation: bands are those of a log-mel spectrogram, and
envelopes are in dB, which stands in for the ear's compression.
"""

import itertools
from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

NUM_BANDS = 32
WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.005
RANGE_DB = 60.0  # below the loudest band and frame of either sound, nothing is heard
MODULATION_HZ = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # edges of bands of an octave
MIN_SHARE = 1e-3  # of the modulation power
MIN_VARIANCE = 1.0  # dB^2: a band that moves less has no modulation spectrum to speak of


class TextureDistance(NamedTuple):
    """Root mean squares over bands, 0 for the sound itself.

    Attributes:
        mean: Of the differences of the bands' mean levels, in dB: the long-term spectrum.
        deviation: Of the differences of their standard deviations over time, in dB: how sparse the events are.
        modulation: Of the differences of the share of their power at each octave of modulation, in dB: the rhythm.
    """

    mean: float
    deviation: float
    modulation: float


def texture_distance(wav: Tensor, reference: Tensor, sample_rate: int) -> TextureDistance:
    """Compare the statistics of two sounds of any lengths, each at its own level: as loud as each other.

    Args:
        wav: float [C, T].
        reference: float [C, T'].
        sample_rate: Of both, in Hz.

    Raises:
        ValueError: For sounds shorter than a second, or silent ones.
    """
    levels = [_band_levels(sound, sample_rate) for sound in (wav, reference)]
    means = np.stack([level.mean(axis=1) for level in levels])
    deviations = np.stack([level.std(axis=1) for level in levels])
    shares = np.stack([_modulation_shares(level) for level in levels])  # [2, bands, octaves]
    moving = deviations.min(axis=0) ** 2 > MIN_VARIANCE
    modulation = np.diff(10 * np.log10(shares[:, moving]), axis=0)
    return TextureDistance(
        _root_mean_square(np.diff(means, axis=0)),
        _root_mean_square(np.diff(deviations, axis=0)),
        _root_mean_square(modulation) if moving.any() else 0.0,
    )


def _band_levels(wav: Tensor, sample_rate: int) -> NDArray[np.float64]:
    """Return levels in dB relative to the loudest one, [bands, L]."""
    mono = wav.mean(dim=0).double().numpy()
    if len(mono) < sample_rate:
        raise ValueError(f"statistics need a second of sound, got {len(mono) / sample_rate:.2f} s")
    n_fft = 2 ** int(np.ceil(np.log2(WINDOW_SECONDS * sample_rate))) * 2  # narrow bands at the low end are not empty
    power = librosa.feature.melspectrogram(
        y=mono,
        sr=sample_rate,
        n_fft=n_fft,
        win_length=round(WINDOW_SECONDS * sample_rate),
        hop_length=round(HOP_SECONDS * sample_rate),
        n_mels=NUM_BANDS,
        fmin=50.0,
    )
    if not power.max() > 0:
        raise ValueError("statistics of silence: there are none")
    return np.maximum(10 * np.log10(np.maximum(power / power.max(), 1e-30)), -RANGE_DB)


def _modulation_shares(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each octave of modulation in the variance of each band, [bands, octaves]."""
    moving = level - level.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(moving * np.hanning(level.shape[1]), axis=1)) ** 2
    frequency = np.fft.rfftfreq(level.shape[1], HOP_SECONDS)
    octaves = [
        power[:, (frequency >= low) & (frequency < high)].sum(axis=1) for low, high in itertools.pairwise(MODULATION_HZ)
    ]
    stacked = np.stack(octaves, axis=1)
    return np.maximum(stacked / np.maximum(stacked.sum(axis=1, keepdims=True), 1e-12), MIN_SHARE)


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
