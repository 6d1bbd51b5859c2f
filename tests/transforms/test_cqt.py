"""The constant-Q spectrogram matches librosa; its synthesis and inverse meet their error bounds."""

import warnings
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.transforms.cqt import CQT
from audiogen.transforms.phase.griffin_lim import GriffinLim
from tests.transforms.sounds import harmonic, noise, sine

SMALL: dict[str, Any] = {"sample_rate": 8000, "hop_length": 32, "f_min": 110.0, "n_bins": 48, "bins_per_octave": 12}


def small(**options: Any) -> CQT:
    return CQT(**{**SMALL, "num_frames": 64, **options})


def librosa_amplitude(wav: Tensor, settings: dict[str, Any]) -> Tensor:
    """Return librosa's magnitudes where a full-scale sine is 1, float64 [F, L + 1].

    librosa scales by the square root of the filter lengths, and responds to half of a real sine.
    """
    per_octave, scale = settings["bins_per_octave"], settings.get("filter_scale", 1.0)
    frequencies = librosa.cqt_frequencies(settings["n_bins"], fmin=settings["f_min"], bins_per_octave=per_octave)
    ratio = 2 ** (2 / per_octave)
    lengths, _ = librosa.filters.wavelet_lengths(
        freqs=frequencies,
        sr=settings["sample_rate"],
        filter_scale=scale,
        gamma=0,
        alpha=np.full(len(frequencies), (ratio - 1) / (ratio + 1)),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=.* is too large for input signal")
        spectrum = librosa.cqt(
            wav[0, 0].double().numpy(),
            sr=settings["sample_rate"],
            hop_length=settings["hop_length"],
            fmin=settings["f_min"],
            n_bins=settings["n_bins"],
            bins_per_octave=per_octave,
            filter_scale=scale,
            sparsity=0,
            pad_mode="constant",
            dtype=np.complex128,
        )
    return torch.from_numpy(2 * np.abs(spectrum) / np.sqrt(lengths)[:, None])


def amplitude(transform: CQT, wav: Tensor) -> Tensor:
    """Return unscaled magnitudes, float64 [F, L]."""
    return transform.analyse(wav).abs()[0].T.double()


def in_band(transform: CQT, low: float, high: float) -> Tensor:
    """Return noise between two frequencies in Hz, fading to silence at both ends, float [1, 1, T]."""
    spectrum = torch.fft.rfft(noise(transform).double() * torch.hann_window(transform.num_samples, dtype=torch.float64))
    frequencies = torch.fft.rfftfreq(transform.num_samples, 1 / transform.sample_rate)
    return torch.fft.irfft(spectrum * ((frequencies > low) & (frequencies < high)), transform.num_samples).float()


# librosa halves the sample rate for lower octaves. A single octave or an odd hop prevents that.
@pytest.mark.parametrize(
    "options",
    [
        {"f_min": 110.0},
        {"f_min": 880.0},
        {"f_min": 220.0, "bins_per_octave": 24},
        {"f_min": 440.0, "filter_scale": 0.8},
        {"f_min": 32.703, "sample_rate": 22050, "hop_length": 129, "bins_per_octave": 24},
    ],
    ids=str,
)
def test_octave_matches_librosa(options: dict[str, Any]) -> None:
    settings = {**SMALL, "hop_length": 33, **options}
    settings["n_bins"] = settings["bins_per_octave"]
    transform = CQT(**settings, num_frames=48)
    wav = noise(transform) + harmonic(transform)
    expected = librosa_amplitude(wav, settings)[:, :48]
    torch.testing.assert_close(amplitude(transform, wav), expected, rtol=0, atol=1e-4 * float(expected.max()))


def test_several_octaves_match_librosa_as_closely_as_it_resamples() -> None:
    transform = small()
    wav = noise(transform)
    ours, theirs = amplitude(transform, wav), librosa_amplitude(wav, SMALL)[:, :64]
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(ours.split(12), theirs.split(12), strict=True)]
    assert errors[3] < 1e-4  # the highest octave, which librosa does not resample
    assert max(errors) < 0.05


def test_several_octaves_equal_single_octaves() -> None:
    transform = small()
    wav = noise(transform) + harmonic(transform)
    octaves = [small(f_min=110 * 2**i, n_bins=12)(wav) for i in range(4)]
    torch.testing.assert_close(transform(wav), torch.cat(octaves, dim=2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("band", [0, 20, 47])
def test_full_scale_sine_is_at_zero_db_in_its_band(band: int) -> None:
    transform = small(num_frames=128)
    wav = sine(transform, float(transform.frequencies()[band]), level=1.0)
    decibel = (transform(wav)[0, 0, :, 64] + 1) / 2 * 90 - 80
    assert int(decibel.argmax()) == band
    assert decibel[band] == pytest.approx(0, abs=0.01)


def test_an_octave_moves_a_sound_by_bins_per_octave() -> None:
    transform = small(num_frames=128)
    low, high = (transform(sine(transform, frequency))[0, 0, :, 64] for frequency in (311.0, 622.0))
    loud = low[:36] > -0.5  # within 45 dB of the peak; lower levels are leakage from other bands
    assert loud.sum() > 3
    torch.testing.assert_close(high[12:][loud], low[:36][loud], rtol=0, atol=0.02)


def test_frequencies_are_librosas() -> None:
    expected = torch.from_numpy(librosa.cqt_frequencies(48, fmin=110, bins_per_octave=12)).float()
    torch.testing.assert_close(small().frequencies(), expected)


# The shortest filter is 83 samples long.
@pytest.mark.parametrize(("hop_length", "smallest_db"), [(16, 55), (32, 50), (40, 40), (64, 20)])
def test_synthesis_restores_sound_within_the_band(hop_length: int, smallest_db: float) -> None:
    transform = small(hop_length=hop_length, num_frames=4096 // hop_length)
    wav = in_band(transform, 130, 1500)
    analysis = transform.analysis(transform.shape[2])
    returned = analysis.to_wav(analysis.analyse(analysis.pad(wav[0])))
    snr_db = 20 * torch.log10(wav.norm() / (returned - wav[0]).norm())
    assert snr_db > smallest_db


@pytest.mark.parametrize("hop_length", [32, 33, 200])
@pytest.mark.parametrize("num_frames", [1, 7, 64])
def test_octaves_synthesis_is_the_adjoint_of_its_analysis(hop_length: int, num_frames: int) -> None:
    octave = CQT(8000, hop_length, 440, 12, 12, filter_scale=3).double().octaves[0]
    generator = torch.Generator().manual_seed(0)
    wav = torch.randn(2, (num_frames - 1) * hop_length + octave.reach, generator=generator, dtype=torch.float64)
    spectrum = torch.randn(2, num_frames, 12, generator=generator, dtype=torch.complex128)
    analysed = octave(wav)
    assert analysed.shape == spectrum.shape
    one = (spectrum.conj() * analysed * octave.lengths).real.sum()
    other = (octave.adjoint(spectrum) * wav).sum()
    torch.testing.assert_close(one, other)


def test_synthesis_is_silent_beyond_the_band() -> None:
    transform = small(num_frames=128)
    wav = in_band(transform, 2500, 4000)
    analysis = transform.analysis(128)
    returned = analysis.to_wav(analysis.analyse(analysis.pad(wav[0])))
    assert returned.norm() < 1e-3 * wav.norm()


@pytest.mark.parametrize(("momentum", "largest"), [(0, 0.17), (0.99, 0.1)])
def test_inverse_keeps_the_spectrum(momentum: float, largest: float) -> None:
    transform = small(num_frames=128, phase=GriffinLim(32, momentum))
    wav = harmonic(transform)
    wanted = amplitude(transform, wav)
    returned = amplitude(transform, transform.inverse(transform(wav)))
    assert (returned - wanted).norm() < largest * wanted.norm()


def test_hop_longer_than_the_shortest_filter_warns() -> None:
    shortest = int(small().octaves[-1].lengths[-1])
    message = rf"hop_length={2 * shortest} exceeds the {shortest} samples of the highest filter.*filter_scale 2.0 times"
    with pytest.warns(UserWarning, match=message) as caught:
        CQT(**{**SMALL, "hop_length": 2 * shortest})
    assert caught[0].filename == __file__  # the warning points to the caller
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(hop_length=shortest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bins": 63}, "the highest band, at 3951 Hz, extends beyond half the sample rate"),
        ({"f_min": 0.0}, "need f_min, filter_scale > 0 and bins_per_octave >= 1, got 0.0, 1.0 and 12"),
        ({"bins_per_octave": 0}, "need f_min"),
        ({"filter_scale": 0.0}, "need f_min"),
        ({"n_bins": 0}, "need sample_rate"),
        ({"scale": "bels"}, "scale must be db, log1p, linear, got 'bels'"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
