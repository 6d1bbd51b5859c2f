"""Cepstral coefficients match librosa and scipy, and keep the smooth spectrum."""

from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import torch

from audiogen.transforms.mfcc import MFCC
from tests.transforms.sounds import harmonic, noise

SMALL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 64, "num_frames": 32}
FLOOR_DB, CEIL_DB = -80.0, 10.0


def bound(n_mfcc: int, n_mels: int) -> np.ndarray:
    """Return the coefficients mapped to 1, for spectra in [-1, 1], float [F, 1]; above the first, half the range."""
    largest = np.abs(scipy.fft.dct(np.eye(n_mels), norm="ortho", axis=0)[:n_mfcc]).sum(axis=1, keepdims=True)
    return largest * np.where(np.arange(n_mfcc) > 0, 0.5, 1.0)[:, None]


@pytest.mark.parametrize(
    "options",
    [
        {"n_mfcc": 20},
        {"n_mfcc": 13, "mel_scale": "htk", "n_mels": 40},
        {"n_mfcc": 64, "f_min": 50.0},
        {"n_mfcc": 40, "sample_rate": 22050, "n_fft": 2048, "hop_length": 512, "n_mels": 128},  # Jain & Raj (2019)
    ],
    ids=str,
)
def test_matches_librosa(options: dict[str, Any]) -> None:
    settings = {**SMALL, **options}
    transform = MFCC(**settings)
    wav = noise(transform) + harmonic(transform)
    mel = librosa.feature.melspectrogram(
        y=wav[0, 0].numpy(),
        sr=settings["sample_rate"],
        n_fft=settings["n_fft"],
        hop_length=settings["hop_length"],
        pad_mode="constant",
        power=1,
        n_mels=settings["n_mels"],
        fmin=settings.get("f_min", 0),
        htk=settings.get("mel_scale") == "htk",
        norm=None,
    )[:, :32]
    decibel = librosa.amplitude_to_db(mel / (settings["n_fft"] / 4), ref=1.0, amin=10 ** (FLOOR_DB / 20), top_db=None)
    coefficients = librosa.feature.mfcc(S=decibel, n_mfcc=settings["n_mfcc"], norm="ortho")
    coefficients[0] -= np.sqrt(settings["n_mels"]) * (FLOOR_DB + CEIL_DB) / 2  # the middle of the range maps to 0
    expected = coefficients / ((CEIL_DB - FLOOR_DB) / 2 * bound(settings["n_mfcc"], settings["n_mels"]))
    torch.testing.assert_close(transform(wav)[0, 0].double(), torch.from_numpy(expected).double(), rtol=0, atol=1e-4)


def test_log_mel_matches_scipys_inverse_of_the_coefficients() -> None:
    transform = MFCC(**SMALL, n_mfcc=20)
    spec = transform(0.5 * harmonic(transform) + noise(transform))
    smooth = scipy.fft.idct(spec[0, 0].numpy() * bound(20, 64), n=64, norm="ortho", axis=0)
    expected = torch.from_numpy(smooth.clip(-1, 1)).float()
    torch.testing.assert_close(transform.log_mel(spec)[0, 0], expected, rtol=0, atol=1e-5)


def test_all_coefficients_describe_the_whole_log_mel_spectrum() -> None:
    transform = MFCC(**SMALL, n_mfcc=64)
    wav = harmonic(transform) + noise(transform)
    torch.testing.assert_close(transform.log_mel(transform(wav)), transform.mel(wav), rtol=0, atol=1e-5)


def test_fewer_coefficients_describe_it_less_closely() -> None:
    errors = []
    for n_mfcc in (4, 13, 40, 64):
        transform = MFCC(**SMALL, n_mfcc=n_mfcc)
        wav = harmonic(transform) + noise(transform)
        errors.append(float((transform.log_mel(transform(wav)) - transform.mel(wav)).abs().mean()))
    assert errors == sorted(errors, reverse=True)


def test_inverse_keeps_the_coefficients() -> None:
    transform = MFCC(**SMALL, n_mfcc=20)
    spec = transform(harmonic(transform))
    lost = (transform(transform.inverse(spec)) - spec).abs()[..., 1:-1]
    level_db = lost[:, :, 0] * (CEIL_DB - FLOOR_DB) / 2
    assert level_db.mean() < 0.4
    assert lost[:, :, 1:].mean() < 0.015  # the mean magnitude is 0.13


def test_more_coefficients_than_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="n_mfcc must be at most n_mels = 64, got 65"):
        MFCC(**SMALL, n_mfcc=65)


def test_bank_that_cannot_be_inverted_is_refused() -> None:
    with pytest.raises(ValueError, match="128 mel bands at n_fft=256 and 8000 Hz cannot be inverted"):
        MFCC(8000, n_fft=256, hop_length=64, n_mfcc=20, n_mels=128)
