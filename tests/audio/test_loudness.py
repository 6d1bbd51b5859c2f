"""Loudness matches ITU-R BS.1770 and EBU R 128, and clips are normalized to it."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from audiogen.audio.io import AudioFileError
from audiogen.audio.loudness import NormalizeLoudness, loudness

# The coefficients of BS.1770-5, tables 1 and 2, for 48 kHz.
SHELF = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])


def sine(level_db: float, seconds: float, sample_rate: int = 16000, frequency: float = 1000) -> Tensor:
    """Return a sine with a peak at level_db, [1, T]."""
    time = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    return 10 ** (level_db / 20) * torch.sin(2 * torch.pi * frequency * time)[None].float()


def noise(num_samples: int, num_channels: int = 1) -> Tensor:
    return 0.1 * torch.randn(num_channels, num_samples, generator=torch.Generator().manual_seed(0))


def ungated_loudness(wav: Tensor) -> float:
    """Return the loudness of wav [C, T] at 48 kHz as one block, with the Recommendation's coefficients."""
    samples = wav.double().numpy()
    for numerator, denominator in (SHELF, HIGH_PASS):
        samples = scipy.signal.lfilter(numerator, denominator, samples)
    return float(-0.691 + 10 * np.log10(np.sum(np.mean(samples**2, axis=1))))


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100, 48000])
def test_full_scale_sine_at_997_hz(sample_rate: int) -> None:
    # Below 48 kHz the bilinear transform warps the filters slightly. Meters may be off by 0.1 LU.
    assert loudness(sine(0, 3, sample_rate, 997), sample_rate) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.01, 0.399, 0.4])
def test_clip_of_a_block_or_less_is_one_block(seconds: float, num_channels: int) -> None:
    wav = noise(round(seconds * 48000), num_channels)
    assert loudness(wav, 48000) == pytest.approx(ungated_loudness(wav), abs=1e-6)


def test_blocks_overlap_by_three_quarters() -> None:
    wav = noise(round(0.5 * 48000))
    wav[:, 19200:] *= 3
    # The reference restarts its filters at each block, `loudness` does not: a difference of up to 0.01 LU.
    blocks = [10 ** (ungated_loudness(wav[:, start : start + 19200]) / 10) for start in (0, 4800)]
    assert loudness(wav, 48000) == pytest.approx(10 * math.log10(sum(blocks) / 2), abs=0.01)


@pytest.mark.parametrize(
    "segments",
    [
        [(-23, 20)],
        [(-36, 10), (-23, 60), (-36, 10)],
        [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
        [(-26, 20), (-20, 20.1), (-26, 20)],
        # Not from Tech 3341: 9.5 dB lower passes the gate, 7 LU below the mean, and silence does not lower the gate.
        [(-20.45, 20), (-29.95, 20)],
        [(-23, 10), (-37, 10), (-120, 100)],
    ],
    ids=["steady", "relative gate", "both gates", "mean", "within the gate", "silence"],
)
def test_stereo_cases_of_ebu_tech_3341(segments: list[tuple[float, float]]) -> None:
    wav = torch.cat([sine(level, seconds) for level, seconds in segments], dim=1).expand(2, -1)
    assert loudness(wav, 16000) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("sample_rate", [16000, 22050, 32000])
def test_loudness_does_not_depend_on_the_sample_rate(sample_rate: int) -> None:
    taps = scipy.signal.firwin(1001, 3000, fs=48000)
    wav = np.convolve(noise(3 * 48000)[0].numpy(), taps, mode="same")
    resampled = scipy.signal.resample(wav, 3 * sample_rate)
    levels = [loudness(torch.from_numpy(w)[None], rate) for w, rate in ((wav, 48000), (resampled, sample_rate))]
    assert levels[1] == pytest.approx(levels[0], abs=0.15)


def test_sound_beyond_full_scale_is_measured_linearly() -> None:
    wav = noise(48000).sign()  # K-weighting lifts it above full scale
    assert loudness(wav, 48000) == pytest.approx(loudness(wav / 8, 48000) + 20 * math.log10(8), abs=1e-9)


@pytest.mark.parametrize("wav", [torch.zeros(2, 16000), torch.zeros(1, 10), sine(-71, 1)], ids=["2", "short", "quiet"])
def test_clip_below_the_absolute_gate_has_no_loudness_and_is_dropped(wav: Tensor) -> None:
    assert loudness(wav, 16000) == -math.inf
    with pytest.raises(AudioFileError, match=r"^silent \(under -70 LUFS throughout\)$"):
        NormalizeLoudness()(wav, 16000)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.01, 0.2, 2.0])
@pytest.mark.parametrize("gain", [0.01, 1.0, 10.0])
def test_clips_get_the_target_loudness(gain: float, seconds: float, num_channels: int) -> None:
    wav = gain * noise(round(seconds * 16000), num_channels)
    normalized = NormalizeLoudness(-25)(wav, 16000)
    assert loudness(normalized, 16000) == pytest.approx(-25, abs=1e-4)
    assert normalized.dtype == torch.float32
    torch.testing.assert_close(normalized / normalized.abs().max(), wav / wav.abs().max())


@pytest.mark.parametrize("max_peak", [0.5, 0.99])
def test_peak_limit_overrides_the_target(max_peak: float) -> None:
    wav = noise(16000)
    wav[0, 8000] = 1.0
    normalized = NormalizeLoudness(-6, max_peak)(wav, 16000)
    assert float(normalized.max()) == pytest.approx(max_peak, rel=1e-6)
    assert loudness(normalized, 16000) < -6
    torch.testing.assert_close(normalized, max_peak * wav)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_lufs": 1.0}, r"expected target_lufs in \(-70, 0\], got 1\.0"),
        ({"target_lufs": -70.0}, r"expected target_lufs in \(-70, 0\], got -70\.0"),
        ({"target_lufs": float("nan")}, r"expected target_lufs in \(-70, 0\], got nan"),
        ({"max_peak": 0.0}, r"expected max_peak in \(0, 1\], got 0\.0"),
        ({"max_peak": 1.1}, r"expected max_peak in \(0, 1\], got 1\.1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        NormalizeLoudness(**arguments)


def test_sample_rate_too_low_for_the_filters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected a sample rate above 3364 Hz to measure loudness, got 3000$"):
        loudness(noise(3000), 3000)
