"""Analyses match torch; syntheses match the definition of least squares."""

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from audiogen.transforms.analysis import Analysis, STFTAnalysis, overlap_add
from audiogen.transforms.cqt import CQT
from audiogen.transforms.stft import padded_hann_window

NUM_FRAMES = 12


def stft_analysis(n_fft: int = 64, win_length: int | None = None, hop_length: int = 16) -> STFTAnalysis:
    return STFTAnalysis(padded_hann_window(n_fft, win_length).double(), hop_length, NUM_FRAMES)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("win_length", "hop_length"), [(None, 16), (None, 5), (48, 16), (33, 7)])
def test_stft_matches_torch(win_length: int | None, hop_length: int) -> None:
    analysis = stft_analysis(64, win_length, hop_length)
    wav = noise(2, analysis.num_samples)
    window = torch.hann_window(win_length or 64, dtype=torch.float64)
    expected = torch.stft(wav, 64, hop_length, len(window), window, pad_mode="constant", return_complex=True)
    scaled = expected.transpose(1, 2) / (window.sum() / 2)
    assert scaled.shape[1] == NUM_FRAMES + 1
    torch.testing.assert_close(analysis.analyse(analysis.pad(wav)), scaled, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("win_length", "hop_length"), [(None, 16), (None, 32), (None, 5), (48, 16), (33, 7)])
def test_stft_synthesis_inverts_the_analysis(win_length: int | None, hop_length: int) -> None:
    analysis = stft_analysis(64, win_length, hop_length)
    wav = noise(2, analysis.num_samples)
    torch.testing.assert_close(analysis.to_wav(analysis.analyse(analysis.pad(wav))), wav, rtol=0, atol=1e-9)


@pytest.mark.parametrize("hop_length", [16, 12])
def test_stft_synthesis_is_the_least_squares_solution(hop_length: int) -> None:
    analysis = stft_analysis(32, None, hop_length)
    spectrum = torch.complex(noise(1, NUM_FRAMES + 1, 17), noise(1, NUM_FRAMES + 1, 17).flip(1))
    spectrum.imag[..., [0, -1]] = 0  # as in spectra of real waveforms

    def distance(wav: Tensor) -> Tensor:
        both = torch.full((17,), 2.0, dtype=torch.float64)
        both[[0, -1]] = 1  # all other bins also represent a negative frequency
        return ((analysis.analyse(analysis.pad(wav)) - spectrum).abs().square() * both).sum()

    wav = analysis.to_wav(spectrum).requires_grad_()
    (gradient,) = torch.autograd.grad(distance(wav), wav)
    assert gradient.abs().max() < 1e-12 * distance(wav)


def test_stft_of_a_full_scale_sine_has_magnitude_one() -> None:
    analysis = STFTAnalysis(torch.hann_window(64), 16, NUM_FRAMES)
    wav = torch.cos(2 * torch.pi * 8 / 64 * torch.arange(analysis.num_samples))[None]
    assert analysis.analyse(analysis.pad(wav)).abs()[0, 6, 8] == pytest.approx(1, abs=1e-5)


def test_padding_is_silent_and_cropping_undoes_it() -> None:
    analysis = stft_analysis()
    wav = noise(2, analysis.num_samples)
    padded = analysis.pad(wav)
    assert padded.shape == (2, analysis.num_samples + 2 * 32)
    assert not padded[:, :32].any()
    assert not padded[:, -32:].any()
    assert torch.equal(analysis.crop(padded), wav)


def test_synthesis_is_silent_outside_the_clip() -> None:
    cqt = CQT(8000, 32, 440, 24, 12, NUM_FRAMES).double().analysis(NUM_FRAMES)
    for analysis in (stft_analysis(), cqt):
        inside = torch.ones(1, analysis.num_samples, dtype=torch.float64)
        shape = analysis.analyse(analysis.pad(inside)).shape
        padded = analysis.synthesise(torch.complex(noise(*shape), noise(*shape).flip(1)))
        assert not padded[analysis.pad(inside) == 0].any()
        assert analysis.crop(padded).any()


@pytest.mark.parametrize("name", ["stft", "cqt"])
def test_analysis_is_linear(name: str) -> None:
    cqt = CQT(8000, 32, 440, 24, 12, NUM_FRAMES).double().analysis(NUM_FRAMES)
    analysis: Analysis = {"stft": stft_analysis(), "cqt": cqt}[name]
    first, second = noise(2, analysis.num_samples).split(1)

    def analyse(wav: Tensor) -> Tensor:
        return analysis.analyse(analysis.pad(wav))

    torch.testing.assert_close(analyse(2 * first - second), 2 * analyse(first) - analyse(second))


@pytest.mark.parametrize(("length", "hop_length"), [(8, 4), (8, 3), (7, 7), (5, 8)])
def test_overlap_add_sums_overlapping_frames(length: int, hop_length: int) -> None:
    frames = noise(2, 6, length)
    expected = np.zeros((2, 5 * hop_length + length))
    for index in range(6):
        expected[:, index * hop_length : index * hop_length + length] += frames[:, index].numpy()
    torch.testing.assert_close(overlap_add(frames, hop_length), torch.from_numpy(expected))


@pytest.mark.parametrize("win_length", [None, 48, 33])
def test_window_is_scipys_centred_in_the_fft(win_length: int | None) -> None:
    window = scipy.signal.get_window("hann", win_length or 64)
    left = (64 - len(window)) // 2
    expected = torch.from_numpy(np.pad(window, (left, 64 - len(window) - left))).float()
    torch.testing.assert_close(padded_hann_window(64, win_length), expected, rtol=0, atol=1e-6)
