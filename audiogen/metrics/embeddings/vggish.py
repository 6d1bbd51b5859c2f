"""Embed audio by VGGish, the embedding of the FAD of Kilgour et al. (2019).

Distances of different VGGish variants are not comparable. This variant is the one of most PyTorch toolkits: without the
last ReLU, without PCA, and with patches that do not overlap. Kilgour et al. also omit the last ReLU and the PCA, but
their patches start every 0.5 s (`patch_hop` 50), and they divide clips by their peak if it exceeds 0.1. Clips shorter
than one patch (0.975 s) are padded with silence.
"""

from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.networks.vggish import NUM_FEATURES, PATCH_FRAMES, SAMPLE_RATE, LogMelPatches, VGGishNetwork
from audiogen.networks.weights import VGGISH_URL, other_weights, read_weights, weights_file


class VGGish(Embedding):
    """128 features per 0.96 s of audio.

    Args:
        weights: Path of the weights in the format of torchvggish; None for the published weights.
        download: Whether to download the published weights (288 MB) into `cache` if they are missing. Start with a
            single process, because each process would download them.
        cache: Folder of the published weights; None for the folder of torch.hub.
        last_relu: Whether to apply the last ReLU, as torchvggish does by default.
        patch_hop: Hop between patches in frames of 10 ms; with 96, patches do not overlap.

    Raises:
        ValueError: If the weights are missing or belong to another network, or `patch_hop` is below 1.
    """

    def __init__(
        self,
        weights: str | None = None,
        download: bool = False,
        cache: str | None = None,
        last_relu: bool = False,
        patch_hop: int = PATCH_FRAMES,
    ) -> None:
        super().__init__("vggish", NUM_FEATURES, SAMPLE_RATE)
        self.patches = LogMelPatches(patch_hop)
        self.network = VGGishNetwork(last_relu)
        path = weights_file(VGGISH_URL, weights, download, cache)
        try:
            self.network.load_state_dict(read_weights(path))
        except RuntimeError as error:
            raise other_weights(path, "VGGish", error) from None
        self.eval().requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed wav, float32 [B, 1, T] at 16 kHz, as float32 [B, K, 128]."""
        patches = self.patches(clips[:, 0])  # [B, K, 96, 64]
        return self.network(patches.flatten(0, 1)[:, None]).unflatten(0, patches.shape[:2])
