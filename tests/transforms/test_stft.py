"""The linear-frequency spectrogram matches librosa, and its inverse meets its error bounds."""

import math
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.spsi import SPSI
from audiogen.transforms.stft import STFT
from tests.transforms.sounds import harmonic, noise, sine

SMALL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "num_frames": 32}


def librosa_magnitude(wav: Tensor, settings: dict[str, Any]) -> np.ndarray:
    """Return the magnitudes of librosa's unnormalised STFT, float [K, L]."""
    spectrum = librosa.stft(
        wav[0, 0].numpy(),
        n_fft=settings["n_fft"],
        hop_length=settings["hop_length"],
        win_length=settings.get("win_length"),
        pad_mode="constant",
    )
    return np.abs(spectrum[:, : settings["num_frames"]])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"win_length": 400, "hop_length": 100},
        {"win_length": 301, "hop_length": 77},
        {"sample_rate": 22050, "n_fft": 2048, "hop_length": 512},  # Jain & Raj (2019)
        {"sample_rate": 22050, "n_fft": 1024, "hop_length": 256},  # Huzaifah & Wyse (2020)
    ],
    ids=str,
)
def test_linear_scale_matches_librosa(options: dict[str, Any]) -> None:
    settings = {**SMALL, **options}
    transform = STFT(**settings, scale="linear", ceil_db=0)
    wav = noise(transform) + harmonic(transform)
    half_sum = settings.get("win_length", settings["n_fft"]) / 4  # of a Hann window
    amplitude = librosa_magnitude(wav, settings) / half_sum
    expected = torch.from_numpy(2 * amplitude.clip(0, 1) - 1)
    torch.testing.assert_close(transform(wav)[0, 0], expected, rtol=0, atol=1e-5 * float(amplitude.max()))


def test_decibels_match_librosa() -> None:
    transform = STFT(**SMALL)
    wav = noise(transform) + harmonic(transform)
    magnitude = librosa_magnitude(wav, SMALL)
    decibel = librosa.amplitude_to_db(magnitude, ref=128, amin=1e-9, top_db=None).clip(-80, 10)
    expected = torch.from_numpy(2 * (decibel + 80) / 90 - 1)
    torch.testing.assert_close(transform(wav)[0, 0], expected, rtol=0, atol=1e-4)  # 0.005 dB


@pytest.mark.parametrize("win_length", [None, 400])
def test_log1p_matches_the_unnormalised_magnitude(win_length: int | None) -> None:
    settings = {**SMALL, "win_length": win_length}
    transform = STFT(**settings, scale="log1p", ceil_db=0)
    wav = 0.1 * noise(transform)
    log1p = np.log1p(librosa_magnitude(wav, settings))
    top = math.log1p((win_length or 512) / 4)
    torch.testing.assert_close(transform(wav)[0, 0], torch.from_numpy(2 * log1p / top - 1), rtol=0, atol=1e-5)


def test_full_scale_sine_has_zero_db_at_its_bin() -> None:
    transform = STFT(**SMALL)
    band = 40
    spec = transform(sine(transform, transform.frequencies()[band].item(), level=1.0))[0, 0, :, 16]
    assert int(spec.argmax()) == band
    assert (spec[band].item() + 1) / 2 * 90 - 80 == pytest.approx(0, abs=1e-3)


def test_frequencies_are_librosas() -> None:
    expected = torch.from_numpy(librosa.fft_frequencies(sr=8000, n_fft=512)).float()
    torch.testing.assert_close(STFT(**SMALL).frequencies(), expected)
    torch.testing.assert_close(STFT(**SMALL, num_bins=256).frequencies(), expected[:256])


def test_dropped_bins_are_the_highest_and_come_back_silent() -> None:
    whole, part = STFT(**SMALL), STFT(**SMALL, num_bins=100)
    assert whole.shape == (1, 257, 32)
    assert part.shape == (1, 100, 32)
    wav = noise(whole)
    torch.testing.assert_close(part(wav), whole(wav)[:, :, :100], rtol=0, atol=0)
    level_db = (whole(part.inverse(part(wav)))[0, 0] + 1) / 2 * 90 - 80
    assert level_db[110:].max() < level_db[:100].mean() - 30


@pytest.mark.parametrize(
    ("phase", "largest"),
    [
        (GriffinLim(32, momentum=0), 0.25),
        (GriffinLim(32), 0.1),
        (GriffinLim(100), 0.03),
        (SPSI(), 0.16),
        (GriffinLim(32, start="spsi"), 0.035),
    ],
    ids=["classic", "fast", "fast, 100", "SPSI", "SPSI, then fast"],
)
@pytest.mark.parametrize("scale", ["db", "log1p"])
def test_inverse_keeps_the_spectrum(phase: Any, largest: float, scale: Any) -> None:
    transform = STFT(**SMALL, scale=scale, phase=phase)
    wav = harmonic(transform)
    wanted = transform.analyse(wav).abs()
    returned = transform.inverse(transform(wav))
    assert (transform.analyse(returned).abs() - wanted).norm() < largest * wanted.norm()


def test_log1p_range_matches_huzaifah_and_wyse() -> None:
    ceil_db = 20 * math.log10(math.expm1(7) / 256)
    assert ceil_db == pytest.approx(12.63, abs=0.01)
    transform = STFT(22050, n_fft=1024, hop_length=256, num_frames=8, scale="log1p", ceil_db=12.63)
    wav = 0.3 * noise(transform)
    settings = {"n_fft": 1024, "hop_length": 256, "num_frames": 8}
    of_paper = np.log1p(librosa_magnitude(wav, settings)) / 7
    torch.testing.assert_close((transform(wav)[0, 0] + 1) / 2, torch.from_numpy(of_paper), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 511}, "n_fft must be even, got 511"),
        ({"n_fft": 0}, "n_fft must be even, got 0"),
        ({"win_length": 513}, r"win_length must be in 2 \.\.\. n_fft = 512, got 513"),
        ({"hop_length": 257}, r"hop_length must be in 1 \.\.\. n_fft / 2 = 256, got 257"),
        ({"win_length": 200}, r"hop_length must be in 1 \.\.\. win_length / 2 = 100, got 128"),
        ({"num_bins": 258}, r"num_bins must be at most n_fft / 2 \+ 1 = 257, got 258"),
        ({"num_bins": 0}, "bands and num_frames of at least 1, got 8000, 128, 1, 0, 32"),
        ({"sample_rate": 0}, "need sample_rate"),
        ({"scale": "mel"}, "scale must be db, log1p, linear, got 'mel'"),
        ({"floor_db": 11.0}, "floor_db must be below ceil_db, got 11.0 and 10.0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STFT(**{**SMALL, **options})
