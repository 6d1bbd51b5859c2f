"""Compare the events and the melody of two sounds by correlations of their onset envelopes and pitch contours."""

from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

N_FFT = 2048
HOP_LENGTH = 512
PITCH_HZ = (60.0, 1000.0)
MIN_VOICED = 8  # frames that are voiced in both sounds


class ContourMatch(NamedTuple):
    """Pearson correlations in [-1, 1]; 1 for identical sounds.

    Attributes:
        onsets: Correlation of the onset envelopes; NaN if one is constant.
        pitch: Correlation of the log pitches over frames where both sounds are voiced; NaN if there are fewer than
            `MIN_VOICED` such frames, or a pitch is constant.
    """

    onsets: float
    pitch: float


def contour_match(wav: Tensor, content: Tensor, sample_rate: int) -> ContourMatch:
    """Compare the contours of two sounds over the duration of the shorter one.

    Args:
        wav: float [C, T].
        content: float [C, T'].
        sample_rate: Sample rate of both sounds in Hz.
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
    """Return the log pitch of each frame, float64 [L], by pYIN (Mauch & Dixon, 2014); NaN in unvoiced frames."""
    low, high = PITCH_HZ
    pitch, _, _ = librosa.pyin(
        sound, fmin=low, fmax=min(high, sample_rate / 4), sr=sample_rate, frame_length=N_FFT, hop_length=HOP_LENGTH
    )
    return np.log(pitch)


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Pearson's correlation; NaN if one sequence is constant."""
    deviations = [values - values.mean() for values in (one, other)]
    norms = [float(np.linalg.norm(values)) for values in deviations]
    return float(deviations[0] @ deviations[1] / (norms[0] * norms[1])) if min(norms) > 1e-9 else float("nan")
