"""VGGish of spectrograms: close to VGGish of the sound, and differentiable."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiogen.models.vggish_features import VGGishFeatures
from audiogen.networks.vggish import LogMelPatches, VGGishNetwork
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vggish") / "weights.pth"
    torch.save(VGGishNetwork().state_dict(), path)
    return str(path)


def chirps(sample_rate: int) -> Tensor:
    """Return two seconds of rising tones and noise, float32 [1, T]."""
    time = torch.arange(2 * sample_rate) / sample_rate
    tone = 0.3 * torch.sin(2 * torch.pi * (300 + 800 * (time % 0.5)) * time)
    noise = 0.05 * torch.randn(sample_rate // 4, generator=torch.Generator().manual_seed(0)).repeat(8)
    return (tone + noise * (time % 0.7 < 0.2))[None]


@pytest.mark.parametrize("transform", [STFT(16000, 512, 128, 250), LogMel(16000, 1024, 256, 128, 125)])
def test_patches_are_close_to_those_of_the_sound(weights: str, transform: SpectrogramTransform) -> None:
    ours = VGGishFeatures(transform, weights).patches(transform(chirps(16000)[None]))
    theirs = LogMelPatches()(chirps(16000))
    num = theirs.shape[1]
    assert ours.shape[2:] == theirs.shape[2:]
    assert torch.corrcoef(torch.stack([ours[:, :num].flatten(), theirs.flatten()]))[0, 1] > 0.9


def test_every_frame_and_band_below_the_limit_has_a_gradient(weights: str) -> None:
    transform = STFT(16000, 512, 128, 120, floor_db=-120)
    spec = transform(chirps(16000)[None, :, : 120 * 128]).clamp(-0.99, 1).requires_grad_()
    features = VGGishFeatures(transform, weights).features(spec, ["relu_1"])["relu_1"]
    (gradient,) = torch.autograd.grad(features.square().mean(), spec)
    assert (gradient[:, :, 10:220] != 0).float().mean() > 0.99


def test_gradient_equals_finite_differences(weights: str) -> None:
    transform = STFT(16000, 512, 128, 120)
    network = VGGishFeatures(transform, weights).double()
    # No two adjacent values are equal, because max pooling has a kink there.
    spec = (0.8 * torch.rand(1, 1, 257, 130, generator=torch.Generator().manual_seed(0)).double()).requires_grad_()
    direction = torch.randn(spec.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def value(shift: float) -> Tensor:
        return network.features(spec + shift * direction, ["embedding"])["embedding"].square().sum()

    (gradient,) = torch.autograd.grad(value(0), spec)
    step = 1e-6
    difference = (value(step) - value(-step)).item() / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-3)


def test_layers_have_the_expected_features(weights: str) -> None:
    transform = STFT(16000, 512, 128, 250)
    found = VGGishFeatures(transform, weights).features(torch.zeros(2, 1, 257, 250), ["relu_1", "relu_6", "embedding"])
    assert {name: part.shape[:2] for name, part in found.items()} == {
        "relu_1": (2, 64),
        "relu_6": (2, 512),
        "embedding": (2, 128),
    }
    assert found["embedding"].shape[2] == 3  # 200 frames of 10 ms


def test_unknown_layers_and_other_transforms_are_refused(weights: str) -> None:
    with pytest.raises(ValueError, match="VGGish has no layer 'relu_7': expected one of relu_1"):
        VGGishFeatures(STFT(), weights).features(torch.zeros(1, 1, 1025, 64), ["relu_7"])
    with pytest.raises(ValueError, match="evenly spaced bins of an STFT, which CQT does not have"):
        VGGishFeatures(CQT(), weights)


def test_missing_weights_are_reported_with_their_url(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set download to true .*vggish-10086976\.pth"):
        VGGishFeatures(STFT(), cache=str(tmp_path))
