"""VGGish embeddings: number and content of the rows, and their weights."""

from pathlib import Path

import pytest
import torch

from audiogen.metrics.embeddings.embedding import clips_for
from audiogen.metrics.embeddings.vggish import VGGish
from audiogen.networks.vggish import LogMelPatches, VGGishNetwork
from audiogen.networks.weights import VGGISH_URL
from audiogen.transforms.mel import LogMel


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vggish") / "random.pth"
    torch.save(VGGishNetwork().state_dict(), path)
    return str(path)


def noise(batch: int, num_samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 1, num_samples, generator=torch.Generator().manual_seed(0))


def test_rows_are_the_features_of_the_patches(weights: str) -> None:
    embedding = VGGish(weights)
    assert (embedding.name, embedding.num_features, embedding.sample_rate, embedding.kind) == (
        "vggish",
        128,
        16000,
        "a",
    )
    wav = noise(2, 40000)
    rows = embedding(wav)
    assert rows.shape == (2, 2, 128)
    network = VGGishNetwork()
    network.load_state_dict(torch.load(weights))
    for clip in range(2):
        patches = LogMelPatches()(wav[clip])[0]  # [2, 96, 64]
        torch.testing.assert_close(rows[clip], network(patches[:, None]), rtol=1e-4, atol=1e-6)
    assert (rows[0] - rows[1]).abs().max() > 1e-5
    assert not rows.requires_grad


def test_last_relu_and_hop_are_options(weights: str) -> None:
    wav = noise(1, 32000)
    plain, cut = VGGish(weights)(wav), VGGish(weights, last_relu=True, patch_hop=24)(wav)
    assert plain.min() < 0
    assert cut.shape == (1, 5, 128)  # 198 frames: patches begin at 0, 24, ..., 96
    torch.testing.assert_close(cut[:, [0, 4]], plain.clamp_min(0))


def test_spectrograms_are_inverted_to_audio(weights: str) -> None:
    transform = LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=32, num_frames=32)
    clips = clips_for(VGGish(weights), torch.zeros(2, 1, 32, 32), transform)
    assert clips.shape == (2, 1, 2 * 32 * 128)


def test_missing_weights_are_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights .*vggish-10086976.pth: set download to true") as error:
        VGGish(cache=str(tmp_path))
    assert VGGISH_URL in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"other.pth does not contain the weights of VGGish: .*Missing key.*features.0"
    ) as e:
        VGGish(str(tmp_path / "other.pth"))
    assert len(str(e.value)) < 500
