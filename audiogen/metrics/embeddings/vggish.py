"""VGGish features of sounds, those of the FAD of Kilgour et al. (2019).

Variants give distances that cannot be compared. This is the one of most PyTorch toolkits, with no last ReLU, no PCA and
patches that do not overlap. Kilgour et al. also leave out the last ReLU and the PCA, but take patches each 0.5 s
(`patch_hop` 50) and first divide a clip by its largest sample, where that is above 0.1. Clips below 0.975 s, one patch,
are padded with silence.
"""

from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.networks.vggish import NUM_FEATURES, PATCH_FRAMES, SAMPLE_RATE, LogMelPatches, VGGishNetwork
from audiogen.networks.weights import VGGISH_URL, other_weights, read_weights, weights_file


class VGGish(Embedding):
    """128 features of each 0.96 s of sound.

    Args:
        weights: File of the weights, in the format of torchvggish; None for the published ones.
        download: Download the published weights (288 MB) into `cache` if they are not there. Begin with one process:
            several would all download them.
        cache: Folder of the published weights; None for that of torch.hub.
        last_relu: End with a ReLU, as torchvggish does by itself.
        patch_hop:  Analysisof 10 ms from one row to the next; 96 for patches that do not overlap.

    Raises:
        ValueError: Where the weights are missing or of something else, and for a `patch_hop` below 1.
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
