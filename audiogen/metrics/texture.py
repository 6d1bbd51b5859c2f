"""Measure the distance between two sound textures by statistics that no style loss optimises.

The statistics follow McDermott & Simoncelli, "Sound texture perception via statistics of the auditory periphery"
(2011): moments of the envelopes in frequency bands, and their modulation spectra. Deviation: the bands are mel bands,
and the envelopes are in dB, which approximates the ear's compression.
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
RANGE_DB = 60.0  # levels further below the loudest band and frame of a sound are inaudible
MODULATION_HZ = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # edges of octave bands
MIN_FRACTION = 1e-3  # of the modulation power
MIN_VARIANCE = 1.0  # dB^2; below it, the modulation spectrum of a band is noise


class TextureDistance(NamedTuple):
    """Root mean square differences over bands, in dB; 0 for identical sounds.

    Attributes:
        mean: Difference of the mean levels: the long-term spectrum.
        deviation: Difference of the standard deviations over time: the sparseness of events.
        modulation: Difference of the fraction of modulation power in each octave: the rhythm.
    """

    mean: float
    deviation: float
    modulation: float


def texture_distance(wav: Tensor, reference: Tensor, sample_rate: int) -> TextureDistance:
    """Compare the statistics of two sounds, regardless of their lengths and overall levels.

    Args:
        wav: float [C, T].
        reference: float [C, T'].
        sample_rate: Sample rate of both sounds in Hz.

    Raises:
        ValueError: If a sound is shorter than a second, or silent.
    """
    levels = [_band_levels(sound, sample_rate) for sound in (wav, reference)]
    means = np.stack([level.mean(axis=1) for level in levels])
    deviations = np.stack([level.std(axis=1) for level in levels])
    fractions = np.stack([_modulation_fractions(level) for level in levels])  # [2, bands, octaves]
    moving = deviations.min(axis=0) ** 2 > MIN_VARIANCE
    modulation = np.diff(10 * np.log10(fractions[:, moving]), axis=0)
    return TextureDistance(
        _root_mean_square(np.diff(means, axis=0)),
        _root_mean_square(np.diff(deviations, axis=0)),
        _root_mean_square(modulation) if moving.any() else 0.0,
    )


def _band_levels(wav: Tensor, sample_rate: int) -> NDArray[np.float64]:
    """Return levels in dB relative to the loudest one, float64 [bands, L] in [-60, 0]."""
    mono = wav.mean(dim=0).double().numpy()
    if len(mono) < sample_rate:
        raise ValueError(f"texture statistics need at least 1 s of sound, got {len(mono) / sample_rate:.2f} s")
    n_fft = 2 ** int(np.ceil(np.log2(WINDOW_SECONDS * sample_rate))) * 2  # fine enough for the narrow low bands
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
        raise ValueError("texture statistics are undefined for a silent sound")
    return np.maximum(10 * np.log10(np.maximum(power / power.max(), 1e-30)), -RANGE_DB)


def _modulation_fractions(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of each band's modulation power in each octave, float64 [bands, octaves]."""
    moving = level - level.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(moving * np.hanning(level.shape[1]), axis=1)) ** 2
    frequency = np.fft.rfftfreq(level.shape[1], HOP_SECONDS)
    octaves = [
        power[:, (frequency >= low) & (frequency < high)].sum(axis=1) for low, high in itertools.pairwise(MODULATION_HZ)
    ]
    stacked = np.stack(octaves, axis=1)
    return np.maximum(stacked / np.maximum(stacked.sum(axis=1, keepdims=True), 1e-12), MIN_FRACTION)


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
