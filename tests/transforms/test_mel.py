"""The log-mel spectrogram matches librosa and closed forms; its inverse meets its error bounds."""

import re
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from audiogen.transforms.mel import LogMel, deconvolve
from tests.transforms.sounds import harmonic, noise

SMALL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 64, "num_frames": 32}
RANGE_DB = 90.0
MELGAN_VC: dict[str, Any] = {
    "sample_rate": 16000,
    "hop_length": 192,
    "win_length": 1152,
    "n_mels": 192,
    "mel_scale": "htk",
    "power": 2,
}
# Bands and bins are both 62.5 Hz apart on the linear part of Slaney's scale: each band covers exactly one bin.
ONE_BIN_EACH: dict[str, Any] = {"sample_rate": 2000, "n_fft": 32, "hop_length": 8, "n_mels": 15, "num_frames": 16}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"power": 2},
        {"norm": "slaney"},
        {"mel_scale": "htk", "n_mels": 40},
        {"f_min": 100.0, "f_max": 3000.0, "n_mels": 40},
        {"win_length": 400, "hop_length": 100},
        {"win_length": 301, "hop_length": 77, "power": 2},
        {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256},
        {"sample_rate": 22050, "n_fft": 2048, "hop_length": 512, "n_mels": 128},  # Jain & Raj (2019)
        {**MELGAN_VC, "n_fft": 2304},
    ],
    ids=str,
)
def test_matches_librosa(options: dict[str, Any]) -> None:
    settings = {**SMALL, **options}
    transform = LogMel(**settings)
    wav = noise(transform) + harmonic(transform)
    power = settings.get("power", 1)
    mel = librosa.feature.melspectrogram(
        y=wav[0, 0].numpy(),
        sr=settings["sample_rate"],
        n_fft=settings["n_fft"],
        hop_length=settings["hop_length"],
        win_length=settings.get("win_length"),
        pad_mode="constant",
        power=power,
        n_mels=settings["n_mels"],
        fmin=settings.get("f_min", 0),
        fmax=settings.get("f_max"),
        htk=settings.get("mel_scale") == "htk",
        norm=settings.get("norm"),
    )[:, : settings["num_frames"]]
    half_sum = settings.get("win_length", settings["n_fft"]) / 4  # of a Hann window
    amplitude = mel ** (1 / power) / half_sum
    decibel = 20 * np.log10(np.clip(amplitude, 1e-4, 10**0.5))
    expected = torch.from_numpy(2 * (decibel + 80) / RANGE_DB - 1).float()
    torch.testing.assert_close(transform(wav)[0, 0], expected, rtol=0, atol=1e-4)  # 0.005 dB


@pytest.mark.parametrize("win_length", [None, 400])
def test_log1p_matches_the_unnormalised_amplitude(win_length: int | None) -> None:
    transform = LogMel(**SMALL, win_length=win_length, scale="log1p", ceil_db=0)
    wav = 0.1 * noise(transform)
    mel = librosa.feature.melspectrogram(
        y=wav[0, 0].numpy(),
        sr=8000,
        n_fft=512,
        hop_length=128,
        win_length=win_length,
        pad_mode="constant",
        power=1,
        n_mels=64,
        norm=None,
    )[:, :32]
    expected = torch.from_numpy(2 * np.log1p(mel) / np.log1p((win_length or 512) / 4) - 1).float()
    torch.testing.assert_close(transform(wav)[0, 0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("band", [2, 7, 11])
def test_full_scale_sine_is_at_zero_db_in_its_band(band: int) -> None:
    transform = LogMel(**ONE_BIN_EACH)
    wav = torch.cos(2 * torch.pi * 62.5 * (band + 1) * torch.arange(transform.num_samples) / 2000)[None, None]
    decibel = (transform(wav)[0, 0, :, 8] + 1) / 2 * RANGE_DB - 80
    assert decibel[band] == pytest.approx(0, abs=1e-3)
    assert decibel[[band - 1, band + 1]].tolist() == pytest.approx(
        [-6.0206] * 2, abs=1e-3
    )  # the Hann window's neighbouring bins are 1/2
    others = [other for other in range(15) if abs(other - band) > 1]
    assert set(decibel[others].tolist()) == {-80.0}


def test_full_scale_sine_stays_below_the_ceiling_in_the_widest_band() -> None:
    # A band that covers all three bins of the Hann main lobe sums 1/2 + 1 + 1/2 = 6 dB, slightly less when weighted.
    transform = LogMel()
    frequency = transform.frequencies()[-2].item()
    wav = torch.sin(2 * torch.pi * frequency * torch.arange(transform.num_samples) / 16000)[None, None]
    spec = transform(wav)[0, 0, :, 20]
    assert int(spec.argmax()) == 126
    assert 5 < (spec[126].item() + 1) / 2 * RANGE_DB - 80 < 6.03


@pytest.mark.parametrize("power", [1, 2])
def test_inverse_keeps_spectrum_and_level(power: int) -> None:
    transform = LogMel(**SMALL, power=power)
    wav = harmonic(transform)
    spec = transform(wav)
    returned = transform.inverse(spec)
    assert (transform(returned) - spec).abs().mean() * RANGE_DB / 2 < 2.0  # dB
    assert 20 * torch.log10(returned.norm() / wav.norm()) == pytest.approx(0, abs=0.5)


def test_inverse_keeps_the_level_to_the_last_sample() -> None:
    transform = LogMel(**SMALL)
    wav = 0.5 * torch.sin(2 * torch.pi * 500 * torch.arange(transform.num_samples) / 8000)[None, None]
    returned = transform.inverse(transform(wav))
    for part in (slice(0, 128), slice(2000, 2128), slice(-128, None)):
        assert 20 * torch.log10(returned[..., part].norm() / wav[..., part].norm()) == pytest.approx(0, abs=2)


@pytest.mark.parametrize("fundamental", [100, 180])
def test_inverse_is_no_worse_than_librosa(fundamental: float) -> None:
    transform = LogMel(**SMALL)
    spec = transform(harmonic(transform, fundamental))
    decibel = (spec[0, 0].numpy() + 1) / 2 * RANGE_DB - 80
    mel = np.where(spec[0, 0] > -1, 10 ** (decibel / 20), 0).astype(np.float32)
    magnitude = librosa.feature.inverse.mel_to_stft(mel, sr=8000, n_fft=512, power=1, norm=None)
    magnitude = (
        np.pad(magnitude, ((0, 0), (0, 1)), mode="edge") * 128
    )  # adds the last frame; 128 is half the sum of the window
    wav = librosa.griffinlim(
        magnitude,
        n_iter=32,
        hop_length=128,
        length=transform.num_samples,
        pad_mode="constant",
        random_state=0,
    )
    ours = (transform(transform.inverse(spec)) - spec).abs().mean()
    assert ours <= (transform(torch.from_numpy(wav)[None, None]) - spec).abs().mean()


def test_deconvolution_finds_a_spectrum_behind_the_mel_spectrum() -> None:
    filters = LogMel(**SMALL).filters
    mel = filters @ torch.rand(2, 257, 5, generator=torch.Generator().manual_seed(0))
    spectrum = deconvolve(mel, filters, num_iterations=100)
    assert spectrum.min() >= 0
    torch.testing.assert_close(filters @ spectrum, mel, rtol=1e-2, atol=0)


def test_bank_with_dependent_bands_is_refused_naming_an_n_fft_that_works() -> None:
    with pytest.raises(ValueError, match=r"128 mel bands at n_fft=512 and 16000 Hz cannot be inverted") as caught:
        LogMel(sample_rate=16000, n_fft=512, hop_length=128, n_mels=128)
    advice = re.search(r"use n_fft=(\d+)", str(caught.value))
    assert advice
    enough = int(advice[1])
    LogMel(sample_rate=16000, n_fft=enough, hop_length=128, n_mels=128)
    banks = {n_fft: librosa.filters.mel(sr=16000, n_fft=n_fft, n_mels=128, norm=None) for n_fft in (512, enough)}
    assert np.linalg.matrix_rank(banks[512]) < 128 == np.linalg.matrix_rank(banks[enough])


def test_bank_of_melgan_vc_is_refused_naming_an_n_fft_that_works() -> None:
    message = r"192 mel bands at n_fft=1152 and 16000 Hz cannot be inverted \(rank 187, 0 empty bands\): use n_fft=2304"
    with pytest.raises(ValueError, match=message):
        LogMel(**MELGAN_VC, n_fft=1152)


def test_dependent_bank_warns_and_still_inverts_if_allowed() -> None:
    with pytest.warns(UserWarning, match=r"cannot be inverted .*: use n_fft=2304$") as caught:
        transform = LogMel(**MELGAN_VC, n_fft=1152, num_frames=24, full_rank=False)
    assert caught[0].filename == __file__  # the warning points to the caller
    wav = harmonic(transform)
    spec = transform(wav)
    returned = transform.inverse(spec)
    assert (transform(returned) - spec).abs().mean() * RANGE_DB / 2 < 1.0  # dB
    assert 20 * torch.log10(returned.norm() / wav.norm()) == pytest.approx(0, abs=0.5)


def test_bank_too_large_for_any_sensible_n_fft_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\d+ empty bands\): use fewer bands"):
        LogMel(sample_rate=16000, n_fft=16, hop_length=8, n_mels=256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_length": 0}, r"hop_length must be in 1 \.\.\. n_fft / 2 = 256, got 0"),
        ({"hop_length": 257}, r"hop_length must be in 1 \.\.\. n_fft / 2 = 256, got 257"),
        ({"floor_db": 10.0}, "floor_db must be below ceil_db, got 10.0 and 10.0"),
        ({"f_max": 4001.0}, "f_max <= sample_rate / 2, got 0.0, 4001.0 at 8000 Hz"),
        ({"f_min": -1.0}, "0 <= f_min"),
        ({"f_min": 4000.0}, "f_min < f_max"),
        ({"mel_scale": "bark"}, "htk.*slaney"),
        ({"norm": "area"}, "slaney"),
        ({"power": 3}, "power"),
        ({"n_mels": 0}, "bands"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_channels": 0}, "num_channels"),
        ({"win_length": 1}, r"win_length must be in 2 \.\.\. n_fft = 512, got 1"),
        ({"win_length": 513}, "win_length"),
        ({"win_length": 200}, r"hop_length must be in 1 \.\.\. win_length / 2 = 100, got 128"),
        ({"scale": "sqrt"}, "scale must be db, log1p, linear, got 'sqrt'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogMel(**{**SMALL, **options})


def test_frequencies_match_the_mel_scale_to_half_a_bin() -> None:
    frequencies = LogMel(**SMALL).frequencies()
    centres = librosa.mel_frequencies(64 + 2, fmin=0, fmax=4000)[1:-1]
    assert (frequencies.diff() > 0).all()
    assert np.abs(frequencies.numpy() - centres).max() <= 8000 / 512 / 2
