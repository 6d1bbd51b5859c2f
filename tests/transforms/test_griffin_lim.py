"""Griffin-Lim converges as fast as librosa's, and always to the same sound."""

import librosa
import pytest
import torch
from torch import Tensor

from audiogen.transforms.analysis import STFTAnalysis
from audiogen.transforms.phase.griffin_lim import griffin_lim, random_phase

HOP_LENGTH, NUM_SAMPLES = 64, 4096
WINDOW = torch.hann_window(256)


def stft(wav: Tensor) -> Tensor:
    return torch.stft(wav, len(WINDOW), HOP_LENGTH, window=WINDOW, pad_mode="constant", return_complex=True)


def chord() -> Tensor:
    """Return a sound with an attack and ten partials, float [1, T]."""
    time = torch.arange(NUM_SAMPLES) / 8000
    partials = [torch.sin(2 * torch.pi * 210 * k * time + k) / k for k in range(1, 11)]
    return (0.3 * torch.stack(partials).sum(dim=0) * torch.exp(-4 * time))[None]


def error(wav: Tensor, magnitude: Tensor) -> float:
    """Return the spectral convergence: the distance between magnitudes relative to the norm of the target."""
    return float((stft(wav).abs() - magnitude).norm() / magnitude.norm())


def rebuild(magnitude: Tensor, num_iterations: int, momentum: float = 0.99) -> Tensor:
    """Return wav, float [N, T], for magnitudes [N, K, L] of an unnormalised STFT."""
    amplitude = magnitude.transpose(1, 2) / (WINDOW.sum() / 2)
    analysis = STFTAnalysis(WINDOW, HOP_LENGTH, NUM_SAMPLES // HOP_LENGTH)
    return griffin_lim(amplitude, random_phase(amplitude), analysis, num_iterations, momentum)


def test_more_iterations_come_closer_to_a_consistent_magnitude() -> None:
    magnitude = stft(chord()).abs()
    errors = [error(rebuild(magnitude, n), magnitude) for n in (0, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 < 0.5 < errors[0]


def test_momentum_converges_faster() -> None:
    magnitude = stft(chord()).abs()
    assert error(rebuild(magnitude, 32), magnitude) < 0.9 * error(rebuild(magnitude, 32, momentum=0), magnitude)


@pytest.mark.parametrize("momentum", [0, 0.99])
def test_converges_as_far_as_librosa(momentum: float) -> None:
    magnitude = stft(chord()).abs()
    references = [
        librosa.griffinlim(
            magnitude[0].numpy(),
            n_iter=32,
            hop_length=HOP_LENGTH,
            momentum=momentum,
            length=NUM_SAMPLES,
            pad_mode="constant",
            random_state=seed,
        )
        for seed in range(5)
    ]
    reached = [error(torch.from_numpy(wav)[None], magnitude) for wav in references]
    ours = error(rebuild(magnitude, 32, momentum=momentum), magnitude)
    assert 0.7 * min(reached) < ours < 1.3 * max(reached)  # the initial phases differ


def test_result_does_not_depend_on_the_random_state() -> None:
    magnitude = stft(chord()).abs()
    torch.manual_seed(1)
    first = rebuild(magnitude, 4)
    torch.manual_seed(2)
    torch.testing.assert_close(rebuild(magnitude, 4), first, rtol=0, atol=0)


def test_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    rebuild(stft(chord()).abs(), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_clip_sounds_the_same_in_any_batch() -> None:
    magnitude = stft(torch.cat([chord(), chord().flip(1), 0.1 * chord()])).abs()
    batch = rebuild(magnitude, 16)
    single = torch.cat([rebuild(magnitude[i : i + 1], 16) for i in range(3)])
    torch.testing.assert_close(batch, single, rtol=0, atol=1e-6)


def test_scales_with_its_input() -> None:
    magnitude = stft(chord()).abs()
    torch.testing.assert_close(rebuild(magnitude / 8, 8), rebuild(magnitude, 8) / 8, rtol=0, atol=1e-6)


def test_silence_is_exactly_silent() -> None:
    assert not rebuild(torch.zeros(2, 129, NUM_SAMPLES // HOP_LENGTH + 1), 8).any()
