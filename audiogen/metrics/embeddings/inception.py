"""Inception features of spectrograms taken for grey pictures: FID (Heusel et al., 2017).

The network is that of the first FID, trained on photographs, as the package torch-fidelity keeps it: its resizing
(bilinear, to 299 x 299 whatever the proportions) and its weights give the metrics of the TensorFlow original.
"""

from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.networks.weights import other_weights, read_weights, weights_file
from audiogen.transforms.transform import SpectrogramTransform

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
NUM_FEATURES = 2048


class Inception(Embedding):
    """2048 features of a spectrogram, of whatever transform: distances compare clips of one transform only.

    Args:
        weights: File of the weights, in the format of torch-fidelity; None for the published ones.
        download: Download the published weights (96 MB) into `cache` if they are not there. Begin with one process:
            several would all download them.
        cache: Folder of the published weights; None for that of torch.hub.

    Raises:
        ImportError: Where torch-fidelity is not installed.
        ValueError: Where the weights are missing or of something else.
    """

    def __init__(self, weights: str | None = None, download: bool = False, cache: str | None = None) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise ImportError("Inception needs the 'fid' extra: pip install 'audiogen[fid]'") from None
        super().__init__("inception", NUM_FEATURES, sample_rate=0, kind="i")  # it takes no sounds
        path = weights_file(URL, weights, download, cache)
        read_weights(path)  # torch-fidelity 0.4 would run any code in it
        try:
            self.network = FeatureExtractorInceptionV3("inception", [str(NUM_FEATURES)], str(path))
        except RuntimeError as error:
            raise other_weights(path, "FID's Inception", error) from None
        self.eval().requires_grad_(False)

    def takes(self, transform: SpectrogramTransform) -> bool:
        """Return True: spectrograms of any transform are pictures."""
        return True

    def forward(self, clips: Tensor) -> Tensor:
        """Embed spec, float32 [B, C, F, L] in [-1, 1], as float32 [B, 1, 2048]; channels are averaged."""
        return self.network(pictures(clips))[0][:, None]


def pictures(spec: Tensor) -> Tensor:
    """Return spec, float [B, C, F, L] in [-1, 1], as grey pictures, uint8 [B, 3, F, L]; channels are averaged."""
    grey = ((spec.mean(dim=1, keepdim=True) + 1) * 127.5).round()
    return grey.byte().expand(-1, 3, -1, -1)
