"""Clips are cropped or padded at their end."""

import librosa
import pytest
import torch

from audiogen.audio.length import fit_length


@pytest.mark.parametrize("num_samples", [3, 10, 17])
def test_matches_librosa_for_shorter_equal_and_longer(num_samples: int) -> None:
    wav = torch.randn(2, 3, 10)
    expected = librosa.util.fix_length(wav.numpy(), size=num_samples)
    torch.testing.assert_close(fit_length(wav, num_samples), torch.from_numpy(expected), rtol=0, atol=0)


def test_padding_is_silence() -> None:
    assert fit_length(torch.ones(1, 4), 6)[0].tolist() == [1, 1, 1, 1, 0, 0]


def test_gradient_reaches_only_what_is_kept() -> None:
    wav = torch.ones(1, 4, requires_grad=True)
    fit_length(wav, 3).sum().backward()
    assert wav.grad is not None
    assert wav.grad[0].tolist() == [1, 1, 1, 0]
