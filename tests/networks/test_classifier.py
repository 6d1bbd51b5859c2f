"""The classifier network has the requested sizes and is sensitive to pitch."""

import pytest
import torch

from audiogen.networks.classifier import SpectrogramCNN


def test_features_and_logits_have_the_sizes_asked_for() -> None:
    network = SpectrogramCNN((2, 32, 48), 5, widths=(4, 8, 16), num_features=7).eval()
    spec = torch.randn(3, 2, 32, 48)
    assert network.embed(spec).shape == (3, 7)
    assert network(spec).shape == (3, 5)
    assert torch.equal(network.logits(network.embed(spec)), network(spec))


def test_clips_of_other_lengths_can_be_classified() -> None:
    network = SpectrogramCNN((1, 16, 32), 3, widths=(4, 8)).eval()
    for num_frames in (4, 20, 100):
        assert network(torch.randn(2, 1, 16, num_frames)).shape == (2, 3)


def test_pitch_changes_the_features_far_more_than_time() -> None:
    torch.manual_seed(0)
    network = SpectrogramCNN((1, 32, 32), 3, widths=(8, 16)).eval()
    tone = torch.full((1, 1, 32, 32), -1.0)
    tone[:, :, 8, 8:16] = 1
    features = [network.embed(spec)[0] for spec in (tone, tone.roll(12, dims=3), tone.roll(12, dims=2))]
    later, higher = (float((other - features[0]).norm().detach()) for other in features[1:])
    assert higher > 10 * later


def test_one_class_and_tiny_spectrograms_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        SpectrogramCNN((1, 64, 64), 1)
    with pytest.raises(ValueError, match="spectrograms of 8 x 64 cannot be halved 4 times"):
        SpectrogramCNN((1, 8, 64), 2)
