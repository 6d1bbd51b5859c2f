"""Spectrograms as images for FID's Inception."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from audiogen.metrics.embeddings.inception import URL, Inception, grey_images
from audiogen.transforms.mel import LogMel


def save_random_weights(path: Path, seed: int = 0) -> str:
    """Save the weights of the network as it is before any are loaded."""
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_, **__: None)
        network = FeatureExtractorInceptionV3("random", ["2048"])
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_random_weights(tmp_path_factory.mktemp("inception") / "random.pth")


@pytest.fixture(scope="module")
def embedding(weights: str) -> Inception:
    return Inception(weights)


def specs() -> Tensor:
    return torch.rand(2, 2, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_rows_are_the_features_of_torch_fidelity(embedding: Inception, weights: str) -> None:
    reference = FeatureExtractorInceptionV3("reference", ["2048"], weights).eval()
    images = ((specs().mean(dim=1) + 1) / 2 * 255).round().to(torch.uint8)  # [2, 16, 24]
    rows = embedding(specs())
    assert rows.shape == (2, 1, embedding.num_features)
    torch.testing.assert_close(rows[:, 0], reference(torch.stack([images] * 3, dim=1))[0], rtol=0, atol=0)
    assert (rows[0] - rows[1]).abs().max() > 0
    assert not rows.requires_grad


def test_range_of_spectrograms_maps_to_the_range_of_images() -> None:
    spec = torch.tensor([-1.0, -0.5, 0.0, 1.0]).expand(1, 1, 1, 4)
    assert grey_images(spec).tolist() == [[[[0, 64, 128, 255]]] * 3]


def test_channels_are_averaged() -> None:
    spec = torch.stack([torch.full((1, 2), -1.0), torch.full((1, 2), 0.5)])[None]  # [1, 2, 1, 2]
    assert grey_images(spec).tolist() == [[[[96, 96]]] * 3]  # (-0.25 + 1) * 127.5 = 95.6


def test_spectrograms_of_any_transform_are_embedded_directly(embedding: Inception) -> None:
    transform = LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=32, num_frames=32)
    assert embedding.takes(transform)
    assert embedding.describe(transform) == "inception: 2048 features of the spectrograms"
    assert embedding.full_name("fad") == "fid_inception"


def test_missing_weights_are_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights .*-6726825d.pth: set download to true") as error:
        Inception(cache=str(tmp_path))
    assert URL in str(error.value)


def test_url_of_the_weights_is_the_one_of_torch_fidelity() -> None:
    assert feature_extractor_inceptionv3.URL_INCEPTION_V3 == URL


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth does not contain the weights of FID's Inception: .*Missing key"):
        Inception(str(tmp_path / "other.pth"))


def test_missing_package_is_reported_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match=r"audiogen\[fid\]"):
        Inception()
