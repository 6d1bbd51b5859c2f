"""Denoising removes noise and keeps sound."""

import sys
import warnings

import noisereduce
import pytest
import torch
from torch import Tensor

from audiogen.audio.denoise import Denoise

SAMPLE_RATE = 16000
BOTH = pytest.mark.parametrize("stationary", [False, True])


def noise(num_samples: int, num_channels: int = 1) -> Tensor:
    return 0.05 * torch.randn(num_channels, num_samples, generator=torch.Generator().manual_seed(0))


def tone_in_silence(num_samples: int = 64000) -> Tensor:
    """Return 0.3 s of a tone in the middle of silence, [1, T]."""
    wav = torch.zeros(1, num_samples)
    wave = 0.2 * torch.sin(2 * torch.pi * 440 * torch.arange(4800) / SAMPLE_RATE)
    wav[0, num_samples // 2 :][:4800] = wave
    return wav


def snr_db(wav: Tensor, sound: Tensor) -> float:
    """Return the level of `sound` in wav relative to everything else in dB, regardless of its gain."""
    part = (wav * sound).sum() / sound.square().sum() * sound
    return float(10 * torch.log10(part.square().sum() / (wav - part).square().sum()))


def level_db(wav: Tensor) -> float:
    return float(10 * torch.log10(wav.square().mean()))


@pytest.mark.parametrize(("stationary", "gain_db"), [(False, 6), (True, 10)])
def test_tone_in_white_noise_comes_out_clearer(stationary: bool, gain_db: float) -> None:
    sound = tone_in_silence()
    noisy = sound + noise(64000)
    assert snr_db(noisy, sound) == pytest.approx(-2.3, abs=0.2)
    assert snr_db(Denoise(stationary)(noisy, SAMPLE_RATE), sound) > snr_db(noisy, sound) + gain_db


def test_defaults_match_noisereduce() -> None:
    wav = tone_in_silence(16032) + noise(16032)  # a length that needs no padding
    expected = noisereduce.reduce_noise(wav[0].numpy(), SAMPLE_RATE)
    torch.testing.assert_close(Denoise()(wav, SAMPLE_RATE)[0], torch.from_numpy(expected), rtol=0, atol=0)


@BOTH
def test_noise_between_sounds_is_removed(stationary: bool) -> None:
    noisy = tone_in_silence() + noise(64000)
    pause = Denoise(stationary)(noisy, SAMPLE_RATE)[:, :30000]
    assert level_db(pause) < level_db(noisy[:, :30000]) - 15


def test_steady_sound_is_treated_as_noise() -> None:
    tone = 0.2 * torch.sin(2 * torch.pi * 440 * torch.arange(64000) / SAMPLE_RATE)[None]
    assert level_db(Denoise()(tone, SAMPLE_RATE)) < level_db(tone) - 15


def test_stationary_keeps_a_sound_that_fills_most_of_the_clip() -> None:
    noisy = noise(32000) * 0.1
    noisy[:, 8000:] += noise(24000)
    denoised = Denoise(stationary=True)(noisy, SAMPLE_RATE)
    assert level_db(denoised[:, 10000:]) > level_db(noisy[:, 10000:]) - 1
    assert level_db(denoised[:, :6000]) < level_db(noisy[:, :6000]) - 15


def test_stationary_noise_is_not_measured_in_digital_silence() -> None:
    noisy = tone_in_silence() + noise(64000)
    padded = torch.cat([torch.zeros(1, 64000), noisy, torch.zeros(1, 5000)], dim=1)
    inside = Denoise(stationary=True)(padded, SAMPLE_RATE)[:, 64000:-5000]
    assert level_db(inside[:, 2000:30000]) < level_db(noisy[:, 2000:30000]) - 15
    assert level_db(inside[:, 32000:36800]) > level_db(noisy[:, 32000:36800]) - 12


def test_half_the_reduction_leaves_half_the_noise() -> None:
    noisy = tone_in_silence(32000) + noise(32000)
    halfway = (noisy + Denoise()(noisy, SAMPLE_RATE)) / 2
    torch.testing.assert_close(Denoise(reduction=0.5)(noisy, SAMPLE_RATE), halfway, rtol=0, atol=1e-6)


def test_short_clip_loses_more_noise_with_less_padding() -> None:
    wav = noise(16000)
    fall = {padding: level_db(wav) - level_db(Denoise(padding=padding)(wav, SAMPLE_RATE)) for padding in (30000, 0)}
    assert fall[30000] == pytest.approx(4, abs=1)
    assert fall[0] == pytest.approx(25, abs=2)


@pytest.mark.parametrize("padding", [0, 100, 30000])
@pytest.mark.parametrize("num_samples", [8000, 16000, 16001, 16255])
def test_the_end_survives_any_length_and_padding(num_samples: int, padding: int) -> None:
    wav = torch.zeros(1, num_samples)
    wav[:, -50:] = noise(50)
    assert level_db(Denoise(padding=padding)(wav, SAMPLE_RATE)[:, -50:]) > level_db(wav[:, -50:]) - 6.1


@BOTH
@pytest.mark.parametrize("padding", [0, 30000])
@pytest.mark.parametrize("num_samples", [1, 160, 257, 1023, 1025, 16000])
def test_any_length_keeps_its_shape_and_stays_finite_and_quiet(
    capfd: pytest.CaptureFixture[str], num_samples: int, padding: int, stationary: bool
) -> None:
    wav = noise(num_samples, num_channels=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        denoised = Denoise(stationary, padding=padding)(wav, SAMPLE_RATE)
    assert denoised.shape == wav.shape
    assert denoised.dtype == torch.float32
    assert denoised.isfinite().all()
    assert capfd.readouterr() == ("", "")


@BOTH
def test_digital_silence_stays_silent(stationary: bool) -> None:
    wav = noise(16000, num_channels=2)
    wav[1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        denoised = Denoise(stationary)(wav, SAMPLE_RATE)
        silent = Denoise(stationary)(torch.zeros(1, 16000), SAMPLE_RATE)
    assert denoised[0].any()
    assert denoised.isfinite().all()
    assert not denoised[1].any()
    assert not silent.any()


@BOTH
def test_minutes_of_digital_silence_stay_finite(stationary: bool) -> None:
    wav = torch.cat([noise(16000), torch.zeros(1, 1_300_000)], dim=1)
    denoised = Denoise(stationary)(wav, SAMPLE_RATE)
    assert denoised.isfinite().all()
    assert denoised[:, 20000:].abs().max() < 1e-6


@BOTH
def test_channels_are_independent(stationary: bool) -> None:
    wav = noise(16000, num_channels=2) * torch.tensor([[1.0], [0.1]])
    alone = torch.cat([Denoise(stationary)(wav[:1], SAMPLE_RATE), Denoise(stationary)(wav[1:], SAMPLE_RATE)])
    torch.testing.assert_close(Denoise(stationary)(wav, SAMPLE_RATE), alone, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduction": 0.0}, r"expected reduction in \(0, 1\], got 0\.0"),
        ({"reduction": 1.5}, r"expected reduction in \(0, 1\], got 1\.5"),
        ({"padding": -1}, r"expected padding >= 0, got -1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Denoise(**arguments)


@BOTH
def test_sample_rate_below_the_minimum_is_refused(stationary: bool) -> None:
    assert Denoise(stationary)(noise(6000), 6000).isfinite().all()
    with pytest.raises(ValueError, match=r"^expected a sample rate of at least 6000 Hz to denoise, got 5999$"):
        Denoise(stationary)(noise(6000), 5999)


def test_missing_package_is_named_before_any_clip_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "noisereduce", None)
    with pytest.raises(ImportError, match=r"^Denoise needs the 'denoise' extra: pip install 'audiogen\[denoise\]'$"):
        Denoise()
