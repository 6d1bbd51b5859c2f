"""Invert our spectrograms with librosa, at the same settings."""

from functools import singledispatch

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform

ITERATIONS = 32


@singledispatch
def invert_with_librosa(transform: SpectrogramTransform, spec: Tensor) -> Tensor:
    """Return wav, float32 [N, 1, T], from spec [N, 1, F, L] by fast Griffin-Lim."""
    raise NotImplementedError(f"librosa has no inverse of {type(transform).__name__}")


@invert_with_librosa.register
def _(transform: STFT, spec: Tensor) -> Tensor:
    amplitude, _ = transform.target(spec)
    return _stack([_griffin_lim(a.T.numpy() * float(transform.window.sum() / 2), transform) for a in amplitude])


@invert_with_librosa.register
def _(transform: LogMel, spec: Tensor) -> Tensor:
    return _stack([_invert_mel(mel.numpy(), transform) for mel in transform.scaling.to_amplitude(spec[:, 0])])


@invert_with_librosa.register
def _(transform: MFCC, spec: Tensor) -> Tensor:
    scaling, n_mels = transform.mel.scaling, transform.mel.shape[1]
    half, middle = (scaling.ceil_db - scaling.floor_db) / 2, (scaling.ceil_db + scaling.floor_db) / 2
    coefficients = (half * spec * transform.bound)[:, 0].numpy()
    coefficients[:, 0] += middle * n_mels**0.5  # of an orthonormal cosine transform
    powers = [librosa.feature.inverse.mfcc_to_mel(c, n_mels=n_mels) for c in coefficients]
    return _stack([_invert_mel(np.sqrt(power), transform.mel) for power in powers])


@invert_with_librosa.register
def _(transform: CQT, spec: Tensor) -> Tensor:
    amplitude, _ = transform.target(spec)
    lengths = torch.cat([octave.get_buffer("lengths") for octave in transform.octaves])
    return _stack([_griffin_lim_cqt((a * lengths.sqrt() / 2).T.numpy(), transform) for a in amplitude])


def _invert_mel(mel: NDArray, transform: LogMel) -> NDArray:
    """Return wav, float [T], from mel amplitudes, float [F, L]."""
    n_fft = len(transform.window)
    magnitude = librosa.feature.inverse.mel_to_stft(mel, sr=transform.sample_rate, n_fft=n_fft, power=1.0, norm=None)
    # librosa needs the last frame too, which the transform leaves out.
    whole = np.pad(magnitude, ((0, 0), (0, 1)), mode="edge")
    return _griffin_lim(whole * float(transform.window.sum() / 2), transform)


def _griffin_lim(magnitude: NDArray, transform: SpectrogramTransform) -> NDArray:
    """Return wav, float [T], from magnitudes of an unnormalised STFT, float [K, L + 1]."""
    hop_length = transform.hop_length
    length = (magnitude.shape[1] - 1) * hop_length
    return librosa.griffinlim(
        magnitude, n_iter=ITERATIONS, hop_length=hop_length, length=length, pad_mode="constant", random_state=0
    )


def _griffin_lim_cqt(magnitude: NDArray, transform: CQT) -> NDArray:
    """Return wav, float [T], from constant-Q magnitudes as librosa scales them, float [K, L + 1]."""
    return librosa.griffinlim_cqt(
        magnitude,
        n_iter=ITERATIONS,
        sr=transform.sample_rate,
        hop_length=transform.hop_length,
        fmin=transform.f_min,
        bins_per_octave=transform.bins_per_octave,
        pad_mode="constant",
        length=(magnitude.shape[1] - 1) * transform.hop_length,
        random_state=0,
    )


def _stack(wavs: list[NDArray]) -> Tensor:
    """Stack arrays [T] into float32 [N, 1, T]."""
    return torch.from_numpy(np.stack(wavs)).float()[:, None]
