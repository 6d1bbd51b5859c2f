"""Embed spectrograms as grey images by Inception: FID (Heusel et al., 2017).

The network was trained on photographs. The package torch-fidelity reproduces the weights and the resizing of the
TensorFlow original (bilinear to 299 x 299, whatever the aspect ratio), and so its scores.
"""

from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.networks.weights import other_weights, read_weights, weights_file
from audiogen.transforms.transform import SpectrogramTransform

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
NUM_FEATURES = 2048


class Inception(Embedding):
    """2048 features of a spectrogram of any transform. Distances are comparable only between clips of one transform.

    Args:
        weights: Path of the weights in the format of torch-fidelity; None for the published weights.
        download: Whether to download the published weights (96 MB) into `cache` if they are missing. Start with a
            single process, because each process would download them.
        cache: Folder of the published weights; None for the folder of torch.hub.

    Raises:
        ImportError: If torch-fidelity is not installed.
        ValueError: If the weights are missing, or belong to another network.
    """

    def __init__(self, weights: str | None = None, download: bool = False, cache: str | None = None) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise ImportError("Inception needs the 'fid' extra: pip install 'audiogen[fid]'") from None
        super().__init__("inception", NUM_FEATURES, sample_rate=0, kind="i")  # takes no audio
        path = weights_file(URL, weights, download, cache)
        read_weights(path)  # refuses code, which torch-fidelity 0.4 would run
        try:
            self.network = FeatureExtractorInceptionV3("inception", [str(NUM_FEATURES)], str(path))
        except RuntimeError as error:
            raise other_weights(path, "FID's Inception", error) from None
        self.eval().requires_grad_(False)

    def takes(self, transform: SpectrogramTransform) -> bool:
        """Return True, since spectrograms of any transform are images."""
        return True

    def forward(self, clips: Tensor) -> Tensor:
        """Embed spec, float32 [B, C, F, L] in [-1, 1], as float32 [B, 1, 2048]. Channels are averaged."""
        return self.network(grey_images(clips))[0][:, None]


def grey_images(spec: Tensor) -> Tensor:
    """Return spec, float [B, C, F, L] in [-1, 1], as grey images, uint8 [B, 3, F, L]. Channels are averaged."""
    grey = ((spec.mean(dim=1, keepdim=True) + 1) * 127.5).round()
    return grey.byte().expand(-1, 3, -1, -1)
