"""The log-mel spectrogram against librosa and closed forms, and the quality of its inverse."""

import re
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.transforms.mel import LogMel, deconvolve

SMALL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 64, "num_frames": 32}
RANGE_DB = 90.0
# Bands every 62.5 Hz on the linear part of Slaney's scale and bins every 62.5 Hz: each band sees exactly one bin.
ONE_BIN_EACH: dict[str, Any] = {"sample_rate": 2000, "n_fft": 32, "hop_length": 8, "n_mels": 15, "num_frames": 16}


def harmonic(transform: LogMel, fundamental: float = 180.0, level: float = 0.2) -> Tensor:
    """Return a decaying sound with vibrato and twelve partials, float [1, 1, T]."""
    time = torch.arange(transform.num_samples) / transform.sample_rate
    phase = 2 * torch.pi * (fundamental * time + 0.4 * torch.sin(2 * torch.pi * 5 * time))
    partials = [torch.sin(k * phase + k * k) / k for k in range(1, 13)]
    return (level * torch.stack(partials).sum(dim=0) * torch.exp(-3 * time))[None, None]


def noise(transform: LogMel, batch: int = 1) -> Tensor:
    shape = (batch, transform.shape[0], transform.num_samples)
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"power": 2},
        {"norm": "slaney"},
        {"mel_scale": "htk", "n_mels": 40},
        {"f_min": 100.0, "f_max": 3000.0, "n_mels": 40},
        {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256},
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
        pad_mode="constant",
        power=power,
        n_mels=settings["n_mels"],
        fmin=settings.get("f_min", 0),
        fmax=settings.get("f_max"),
        htk=settings.get("mel_scale") == "htk",
        norm=settings.get("norm"),
    )[:, : settings["num_frames"]]
    amplitude = mel ** (1 / power) / (settings["n_fft"] / 4)  # half the sum of a Hann window
    decibel = 20 * np.log10(np.clip(amplitude, 1e-4, 10**0.5))
    expected = torch.from_numpy(2 * (decibel + 80) / RANGE_DB - 1).float()
    torch.testing.assert_close(transform(wav)[0, 0], expected, rtol=0, atol=1e-4)  # 0.005 dB


@pytest.mark.parametrize("band", [2, 7, 11])
def test_full_scale_sine_is_at_zero_db_in_its_band(band: int) -> None:
    transform = LogMel(**ONE_BIN_EACH)
    wav = torch.cos(2 * torch.pi * 62.5 * (band + 1) * torch.arange(transform.num_samples) / 2000)[None, None]
    decibel = (transform(wav)[0, 0, :, 8] + 1) / 2 * RANGE_DB - 80
    assert decibel[band] == pytest.approx(0, abs=1e-3)
    assert decibel[[band - 1, band + 1]].tolist() == pytest.approx([-6.0206] * 2, abs=1e-3)  # Hann's neighbours: 1/2
    others = [other for other in range(15) if abs(other - band) > 1]
    assert set(decibel[others].tolist()) == {-80.0}


def test_full_scale_sine_stays_below_the_ceiling_in_the_widest_band() -> None:
    # A band that holds all three bins of Hann's main lobe sums 1/2 + 1 + 1/2: 6 dB, weighted a little less.
    transform = LogMel()
    frequency = transform.frequencies()[-2].item()
    wav = torch.sin(2 * torch.pi * frequency * torch.arange(transform.num_samples) / 16000)[None, None]
    spec = transform(wav)[0, 0, :, 20]
    assert int(spec.argmax()) == 126
    assert 5 < (spec[126].item() + 1) / 2 * RANGE_DB - 80 < 6.03


def test_silence_is_exactly_minus_one() -> None:
    transform = LogMel(**SMALL)
    assert set(transform(torch.zeros(1, 1, transform.num_samples)).unique().tolist()) == {-1.0}


def test_inverse_of_silence_is_exactly_silent() -> None:
    transform = LogMel(**SMALL)
    assert not transform.inverse(torch.full((1, *transform.shape), -1.0)).any()


def test_shape_and_range_are_as_promised_even_beyond_full_scale() -> None:
    transform = LogMel(**SMALL, num_channels=2)
    spec = transform(noise(transform, batch=3) * torch.tensor([1e-9, 1, 1e9])[:, None, None])
    assert spec.shape == (3, 2, 64, 32) == (3, *transform.shape)
    assert (spec.min(), spec.max()) == (-1, 1)
    assert transform.seconds == 32 * 128 / 8000
    assert transform.inverse(spec).shape == (3, 2, transform.num_samples)


def test_batch_equals_single_clips_both_ways() -> None:
    transform = LogMel(**SMALL)
    wav = noise(transform, batch=5) + harmonic(transform)
    spec = transform(wav)
    torch.testing.assert_close(spec, torch.cat([transform(w[None]) for w in wav]), rtol=0, atol=1e-6)
    single = torch.cat([transform.inverse(s[None]) for s in spec])
    torch.testing.assert_close(transform.inverse(spec), single, rtol=0, atol=1e-6)


def test_stereo_is_two_mono_sounds_both_ways() -> None:
    mono, stereo = LogMel(**SMALL), LogMel(**SMALL, num_channels=2)
    wav = torch.cat([harmonic(mono), 0.3 * harmonic(mono, 300)], dim=1)  # [1, 2, T]
    spec = stereo(wav)
    torch.testing.assert_close(spec[0], mono(wav.transpose(0, 1))[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(stereo.inverse(spec)[0], mono.inverse(spec.transpose(0, 1))[:, 0], rtol=0, atol=1e-6)


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
    magnitude = np.pad(magnitude, ((0, 0), (0, 1)), mode="edge") * 128  # the last frame; half the sum of the window
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


def test_inverse_takes_values_out_of_range_as_the_ends() -> None:
    transform = LogMel(**SMALL)
    spec = 2 * torch.rand(1, *transform.shape, generator=torch.Generator().manual_seed(0)) - 1
    wild = torch.where(spec > 0.9, 3.0, torch.where(spec < -0.9, -3.0, spec))
    torch.testing.assert_close(transform.inverse(wild), transform.inverse(wild.clamp(-1, 1)), rtol=0, atol=0)


def test_deconvolution_finds_a_spectrum_behind_the_mel_spectrum() -> None:
    filters = LogMel(**SMALL).filters
    mel = filters @ torch.rand(2, 257, 5, generator=torch.Generator().manual_seed(0))
    spectrum = deconvolve(mel, filters, num_iterations=100)
    assert spectrum.min() >= 0
    torch.testing.assert_close(filters @ spectrum, mel, rtol=1e-2, atol=0)


def test_forward_has_the_gradient_of_finite_differences() -> None:
    transform = LogMel(**{**ONE_BIN_EACH, "num_frames": 4}).double()
    wav = noise(transform).double().requires_grad_()
    assert torch.autograd.gradcheck(transform, wav, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_gradient_is_finite_where_part_of_a_clip_is_silent(power: int) -> None:
    transform = LogMel(**SMALL, power=power)
    wav = noise(transform)
    wav[..., : transform.num_samples // 2] = 0
    wav.requires_grad_()
    transform(wav).sum().backward()
    assert wav.grad is not None
    assert wav.grad.isfinite().all()
    assert wav.grad.any()


def test_bank_with_dependent_bands_is_refused_naming_an_n_fft_that_works() -> None:
    with pytest.raises(ValueError, match=r"128 mel bands at n_fft=512 and 16000 Hz cannot be inverted") as caught:
        LogMel(sample_rate=16000, n_fft=512, hop_length=128, n_mels=128)
    advice = re.search(r"n_fft=(\d+) would do", str(caught.value))
    assert advice
    enough = int(advice[1])
    LogMel(sample_rate=16000, n_fft=enough, hop_length=128, n_mels=128)
    banks = {n_fft: librosa.filters.mel(sr=16000, n_fft=n_fft, n_mels=128, norm=None) for n_fft in (512, enough)}
    assert np.linalg.matrix_rank(banks[512]) < 128 == np.linalg.matrix_rank(banks[enough])


def test_bank_that_no_sensible_n_fft_can_fill_is_refused() -> None:
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


@pytest.mark.parametrize("shape", [(4096,), (1, 4096), (1, 2, 4096), (1, 1, 0)])
def test_another_waveform_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"expected wav [B, 1, T], got {list(shape)}")):
        LogMel(**SMALL)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(64, 32), (1, 64, 32), (1, 2, 64, 32), (1, 1, 32, 64), (1, 1, 64, 0)])
def test_another_spectrogram_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"expected spec [B, 1, 64, L], got {list(shape)}")):
        LogMel(**SMALL).inverse(torch.zeros(shape))


def test_frequencies_are_those_of_the_mel_scale_to_half_a_bin() -> None:
    frequencies = LogMel(**SMALL).frequencies()
    centres = librosa.mel_frequencies(64 + 2, fmin=0, fmax=4000)[1:-1]
    assert (frequencies.diff() > 0).all()
    assert np.abs(frequencies.numpy() - centres).max() <= 8000 / 512 / 2


def test_checkpoint_holds_no_buffers_of_the_transform() -> None:
    assert LogMel(**SMALL).state_dict() == {}
