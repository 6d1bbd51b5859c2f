"""Use VGGish as a content network: the perceptual loss of Jain & Raj (2019), differentiable.

The code of Jain & Raj (2019) evaluated VGGish on detached values, so the loss had no gradient. Here, VGGish's log-mel
patches are interpolated from the spectrogram's magnitudes, in frequency to VGGish's bins and in time to its frames, so
every frame and band has a gradient. Interpolation adds no detail: windows of 46 or 93 ms replace VGGish's 25 ms.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.networks.vggish import (
    HOP_LENGTH,
    LOG_OFFSET,
    N_FFT,
    PATCH_FRAMES,
    SAMPLE_RATE,
    WIN_LENGTH,
    VGGishNetwork,
    mel_matrix,
)
from audiogen.networks.weights import VGGISH_URL, other_weights, read_weights, weights_file
from audiogen.transforms.transform import SpectrogramTransform


class VGGishFeatures(nn.Module):
    """Compute VGGish's features of a spectrogram, with gradients.

    The layers are relu_1 ... relu_6, in the order of the convolutions, and "embedding".

    Args:
        transform: The spectrogram definition; it must be based on an STFT.
        weights: File with the weights in torchvggish's format; null for the published weights.
        download: Download the published weights (288 MB) into `cache` if they are missing.
        cache: Folder of the published weights; null for torch.hub's.

    Raises:
        ValueError: If the weights are missing or belong to another network, or if the transform is a CQT.
    """

    def __init__(
        self,
        transform: SpectrogramTransform,
        weights: str | None = None,
        download: bool = False,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        if not transform.linear_frequency:
            raise ValueError(
                f"VGGish needs the evenly spaced bins of an STFT, which {type(transform).__name__} does not have"
            )
        self.network = VGGishNetwork()
        path = weights_file(VGGISH_URL, weights, download, cache)
        try:
            self.network.load_state_dict(read_weights(path))
        except RuntimeError as error:
            raise other_weights(path, "VGGish", error) from None
        self._transform = [transform]  # in a list, so that it is not registered as a submodule
        self.register_buffer("mel", mel_matrix().float(), persistent=False)
        self.mel: Tensor
        self.layers = [*(f"relu_{index + 1}" for index in range(6)), "embedding"]

    def features(self, spec: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Compute features at some layers.

        Args:
            spec: float32 [B, C, F, L]; channels are averaged.
            layers: Names from `self.layers`.

        Returns:
            float32 [B, N, P] for each name: N features at P positions of all patches.

        Raises:
            ValueError: If a name is unknown.
        """
        if unknown := set(layers) - set(self.layers):
            raise ValueError(f"VGGish has no layer {unknown.pop()!r}: expected one of {', '.join(self.layers)}")
        patches = self.patches(spec)  # [B, K, 96, 64]
        x = patches.flatten(0, 1)[:, None]
        found, num_relus = {}, 0
        for part in self.network.features:
            x = part(x)
            if isinstance(part, nn.ReLU):
                num_relus += 1
                found[f"relu_{num_relus}"] = x.flatten(2)  # [B K, N, positions]
        if "embedding" in layers:
            found["embedding"] = self.network.embeddings(x.permute(0, 2, 3, 1).flatten(1))[:, :, None]
        return {name: found[name].unflatten(0, patches.shape[:2]).movedim(1, 2).flatten(2) for name in layers}

    def patches(self, spec: Tensor) -> Tensor:
        """Return log-mel patches, float32 [B, K, 96, 64], of spec [B, C, F, L], with the last padded by silence."""
        transform = self._transform[0]
        amplitude = transform.amplitude(spec.flatten(0, 1)).unflatten(0, spec.shape[:2]).mean(dim=1)  # [B, L, K]
        magnitude = (
            (WIN_LENGTH / 4) * amplitude @ self._to_bins(amplitude)
        )  # a full-scale sine gives half the window's sum
        log_mel = torch.log(magnitude @ self.mel + LOG_OFFSET)  # [B, L, 64]
        ratio = transform.hop_length / transform.sample_rate * SAMPLE_RATE / HOP_LENGTH
        num_frames = max(round(spec.shape[3] * ratio), 1)
        frames = F.interpolate(log_mel.mT, num_frames, mode="linear").mT
        silence = -num_frames % PATCH_FRAMES
        floor = torch.log(torch.tensor(LOG_OFFSET)).item()
        return F.pad(frames, (0, 0, 0, silence), value=floor).unflatten(1, (-1, PATCH_FRAMES))

    def _to_bins(self, amplitude: Tensor) -> Tensor:
        """Return the matrix, float32 [K, 257], that interpolates magnitudes at VGGish's frequencies; 0 beyond."""
        num_bins = amplitude.shape[2]
        wanted = torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)
        positions = wanted / (self._transform[0].sample_rate / 2) * (num_bins - 1)
        distance = (torch.arange(num_bins)[:, None] - positions).abs()
        return (1 - distance).clamp_min(0).to(amplitude)
