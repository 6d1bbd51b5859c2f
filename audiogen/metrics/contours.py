"""Whether a sound has kept the events and the melody of another: correlations of onset envelopes and pitch contours."""

from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

N_FFT = 2048
HOP_LENGTH = 512
PITCH_HZ = (60.0, 1000.0)
MIN_VOICED = 8  # frames that are voiced in both


class ContourMatch(NamedTuple):
    """Pearson correlations, 1 for the sound itself.

    Attributes:
        onsets: Of the onset envelopes.
        pitch: Of the logarithms of pitch where both sounds have one; NaN where they hardly ever do, or where it does
            not change.
    """

    onsets: float
    pitch: float


def contour_match(wav: Tensor, content: Tensor, sample_rate: int) -> ContourMatch:
    """Compare the course of two sounds; of a longer one, what comes after the end of the other is left out.

    Args:
        wav: float [C, T].
        content: float [C, T'].
        sample_rate: Of both, in Hz.
    """
    num = min(wav.shape[1], content.shape[1])
    sounds = [sound[:, :num].mean(dim=0).float().numpy() for sound in (wav, content)]
    onsets = [
        librosa.onset.onset_strength(y=sound, sr=sample_rate, n_fft=N_FFT, hop_length=HOP_LENGTH) for sound in sounds
    ]
    pitches = [_log_pitch(sound, sample_rate) for sound in sounds]
    voiced = np.isfinite(pitches[0]) & np.isfinite(pitches[1])
    pitch = _correlation(pitches[0][voiced], pitches[1][voiced]) if voiced.sum() >= MIN_VOICED else float("nan")
    return ContourMatch(_correlation(*onsets), pitch)


def _log_pitch(sound: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the logarithm of the pitch in each frame by pYIN (Mauch & Dixon, 2014), NaN without one."""
    low, high = PITCH_HZ
    pitch, _, _ = librosa.pyin(
        sound, fmin=low, fmax=min(high, sample_rate / 4), sr=sample_rate, frame_length=N_FFT, hop_length=HOP_LENGTH
    )
    return np.log(pitch)


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Pearson's correlation; NaN where one does not change."""
    deviations = [values - values.mean() for values in (one, other)]
    norms = [float(np.linalg.norm(values)) for values in deviations]
    return float(deviations[0] @ deviations[1] / (norms[0] * norms[1])) if min(norms) > 1e-9 else float("nan")
