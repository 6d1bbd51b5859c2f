"""SPSI reproduces sines and glides, and comes closer to the spectrum than random phases."""

import pytest
import torch
from torch import Tensor

from audiogen.transforms.phase.griffin_lim import GriffinLim, random_phase
from audiogen.transforms.phase.spsi import SPSI, spsi_phase
from audiogen.transforms.stft import STFT
from tests.transforms.sounds import chirp, harmonic, noise, sine

SPSI_STFT = STFT(sample_rate=8000, n_fft=512, hop_length=128, num_frames=64, phase=SPSI())


def error(wav: Tensor, spec: Tensor) -> float:
    """Return the distance between magnitudes relative to the norm of the target, without the clip's ends."""
    wanted = SPSI_STFT.amplitude(spec[0])[:, 4:-4]
    return float((SPSI_STFT.analyse(wav)[:, 4:-4].abs() - wanted).norm() / wanted.norm())


def error_of_random_phases(spec: Tensor) -> float:
    """Return `error` of the same magnitudes with random phases."""
    amplitude, frames = SPSI_STFT.target(spec)
    return error(frames.to_wav(torch.polar(amplitude, random_phase(amplitude)))[None], spec)


def frequency(wav: Tensor) -> float:
    """Return the strongest frequency of the middle half of a clip in Hz, to 0.1 Hz."""
    quarter = SPSI_STFT.num_samples // 4
    middle = wav[0, 0, quarter:-quarter] * torch.hann_window(2 * quarter)
    return float(torch.fft.rfft(middle, 80000).abs().argmax()) / 10


@pytest.mark.parametrize("hertz", [300.0, 440.0, 507.8, 1003.3, 2500.0])  # at a bin, between bins, half-way
def test_sine_comes_back_with_its_frequency_level_and_spectrum(hertz: float) -> None:
    wav = sine(SPSI_STFT, hertz)
    spec = SPSI_STFT(wav)
    returned = SPSI_STFT.inverse(spec)
    assert frequency(returned) == pytest.approx(hertz, abs=0.5)
    assert 20 * torch.log10(returned.norm() / wav.norm()) == pytest.approx(0, abs=0.3)
    assert error(returned, spec) < 0.02
    assert error_of_random_phases(spec) > 0.6


def test_phases_of_a_steady_sine_advance_by_its_frequency() -> None:
    amplitude = SPSI_STFT.analyse(sine(SPSI_STFT, 1000)).abs()[:, 4:-4]
    phase = spsi_phase(amplitude, hop_length=128)
    advance = 2 * torch.pi * 1000 * 128 / 8000
    turned = torch.polar(torch.ones(()), phase[0, 1:, 64] - phase[0, :-1, 64] - advance)
    torch.testing.assert_close(turned, torch.ones_like(turned), rtol=0, atol=0.01)


@pytest.mark.parametrize(("first", "last"), [(300, 900), (900, 300), (2000, 3000)])
def test_glide_comes_back_with_its_frequencies_and_nearly_its_spectrum(first: float, last: float) -> None:
    spec = SPSI_STFT(chirp(SPSI_STFT, first, last))
    returned = SPSI_STFT.inverse(spec)
    course, wanted = SPSI_STFT(returned).argmax(dim=2), spec.argmax(dim=2)
    assert (course - wanted)[..., 2:-2].abs().max() <= 1
    assert error(returned, spec) < 0.1
    assert error_of_random_phases(spec) > 0.5


def test_harmonic_sound_comes_back_closer_than_with_random_phases() -> None:
    spec = SPSI_STFT(harmonic(SPSI_STFT))
    assert error(SPSI_STFT.inverse(spec), spec) < 0.5 * error_of_random_phases(spec)


def test_griffin_lim_comes_closer_if_started_from_spsi() -> None:
    spec = SPSI_STFT(harmonic(SPSI_STFT))
    from_random, from_spsi = (GriffinLim(16, start=start)(SPSI_STFT, spec) for start in ("random", "spsi"))
    assert error(from_spsi, spec) < 0.5 * error(from_random, spec)
    none = GriffinLim(0, start="spsi")(SPSI_STFT, spec)
    torch.testing.assert_close(none, SPSI_STFT.inverse(spec), rtol=0, atol=0)


def test_phases_of_noise_and_of_silence_are_finite() -> None:
    amplitude = SPSI_STFT.analyse(noise(SPSI_STFT)).abs()
    amplitude[:, 20:30] = 0
    phase = spsi_phase(amplitude, 128)
    assert phase.isfinite().all()
    others = torch.cat([phase[:, :20], phase[:, 30:]], dim=1).remainder(2 * torch.pi)
    assert others.std() > 1  # spread over the circle, where a constant phase would sound as a click per frame
