"""VGGish matches the public port's parameters, the released model's layout and its log-mel patches."""

import math

import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audiogen.networks.vggish import MIN_SAMPLES, LogMelPatches, VGGishNetwork, mel_matrix

# Parameters of vggish-10086976.pth.
PORT = {
    "features.0.weight": (64, 1, 3, 3),
    "features.3.weight": (128, 64, 3, 3),
    "features.6.weight": (256, 128, 3, 3),
    "features.8.weight": (256, 256, 3, 3),
    "features.11.weight": (512, 256, 3, 3),
    "features.13.weight": (512, 512, 3, 3),
    "embeddings.0.weight": (4096, 12288),
    "embeddings.2.weight": (4096, 4096),
    "embeddings.4.weight": (128, 4096),
}


@pytest.fixture(scope="module")
def network() -> VGGishNetwork:
    torch.manual_seed(0)
    return VGGishNetwork().eval().requires_grad_(False)


@pytest.mark.parametrize("last_relu", [False, True])
def test_parameters_have_the_names_and_shapes_of_the_port(last_relu: bool) -> None:
    biases = {name.replace("weight", "bias"): shape[:1] for name, shape in PORT.items()}
    with torch.device("meta"):
        state = VGGishNetwork(last_relu).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == PORT | biases


def reference(state: dict[str, Tensor], patches: Tensor) -> Tensor:
    """Return features of patches [N, 1, 96, 64], with maps flattened channels-last, as in TensorFlow."""
    x = patches
    for index in (0, 3, 6, 8, 11, 13):
        x = F.relu(F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1))
        if index in (0, 3, 8, 13):
            x = F.max_pool2d(x, 2)
    rows, columns, channels = np.meshgrid(range(6), range(4), range(512), indexing="ij")
    x = x[:, channels.ravel(), rows.ravel(), columns.ravel()]  # [N, 12288]
    for index in (0, 2, 4):
        x = F.linear(x, state[f"embeddings.{index}.weight"], state[f"embeddings.{index}.bias"])
        x = x if index == 4 else F.relu(x)
    return x


def test_features_equal_a_direct_computation(network: VGGishNetwork) -> None:
    patches = torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(patches), reference(network.state_dict(), patches))


def test_last_relu_clamps_negative_features(network: VGGishNetwork) -> None:
    patches = torch.randn(1, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    features = network(patches)
    assert features.min() < 0
    with torch.device("meta"):
        cut = VGGishNetwork(last_relu=True)
    cut.load_state_dict(network.state_dict(), assign=True)
    torch.testing.assert_close(cut(patches), features.clamp_min(0), rtol=0, atol=0)


def test_patches_of_another_shape_are_refused(network: VGGishNetwork) -> None:
    with pytest.raises(ValueError, match=r"expected patches \[N, 1, 96, 64\], got \[1, 1, 64, 96\]"):
        network(torch.zeros(1, 1, 64, 96))


def mel(frequency: float) -> float:
    return 1127.0 * math.log(1.0 + frequency / 700.0)


def direct_mel_matrix() -> NDArray:
    """Return the triangles between 66 corners evenly spaced over mels from 125 to 7500 Hz, [257, 64]."""
    corners = np.linspace(mel(125.0), mel(7500.0), 66)
    matrix = np.zeros((257, 64))
    for row in range(257):
        position = mel(row * 16000 / 512)
        for band in range(64):
            low, centre, high = corners[band : band + 3]
            matrix[row, band] = max(0.0, min((position - low) / (centre - low), (high - position) / (high - centre)))
    return matrix


def test_mel_matrix_equals_its_definition() -> None:
    np.testing.assert_allclose(mel_matrix().numpy(), direct_mel_matrix(), rtol=0, atol=1e-12)


def test_mel_bands_have_librosas_corners_but_other_sides() -> None:
    own = mel_matrix().numpy()
    other = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None).T
    assert np.array_equal(own > 1e-6, other > 1e-6)  # at the bin of 7500 Hz, weights are rounding errors
    assert np.abs(own - other).max() == pytest.approx(0.0044, abs=1e-4)


def direct_patches(wav: NDArray, patch_hop: int) -> NDArray:
    """Return log-mel patches [K, 96, 64] of wav [T], computed frame by frame and patch by patch."""
    matrix, window = direct_mel_matrix(), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = []
    for start in range(0, len(wav) - 400 + 1, 160):
        magnitude = np.abs(np.fft.rfft(window * wav[start : start + 400], 512))
        frames.append(np.log(magnitude @ matrix + 0.01))
    starts = range(0, len(frames) - 96 + 1, patch_hop)
    return np.stack([np.stack(frames[start : start + 96]) for start in starts])


@pytest.mark.parametrize(("seconds", "patch_hop", "num_patches"), [(2.0, 96, 2), (1.9, 96, 1), (1.7, 24, 4)])
def test_patches_equal_a_direct_computation(seconds: float, patch_hop: int, num_patches: int) -> None:
    wav = 0.1 * torch.randn(round(16000 * seconds), generator=torch.Generator().manual_seed(0))
    found = LogMelPatches(patch_hop)(wav[None])[0]
    assert found.shape == (num_patches, 96, 64)
    np.testing.assert_allclose(found.numpy(), direct_patches(wav.double().numpy(), patch_hop), atol=1e-4)


@pytest.mark.parametrize("num_samples", [0, 1, 8000, MIN_SAMPLES - 1])
def test_short_sounds_are_padded_with_silence_to_one_patch(num_samples: int) -> None:
    wav = 0.1 * torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0))
    patches = LogMelPatches()(wav)
    assert patches.shape == (2, 1, 96, 64)
    assert torch.equal(patches, LogMelPatches()(F.pad(wav, (0, MIN_SAMPLES - num_samples))))
    if num_samples <= 8000:  # silence is the logarithm of the offset
        assert patches[:, :, 50:].unique().tolist() == pytest.approx([math.log(0.01)])


def test_patches_have_gradients_at_silence() -> None:
    wav = torch.zeros(1, MIN_SAMPLES, requires_grad=True)
    LogMelPatches()(wav).sum().backward()
    assert torch.isfinite(wav.grad).all()


def test_hop_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="expected patch_hop of at least 1 frame, got 0"):
        LogMelPatches(patch_hop=0)
