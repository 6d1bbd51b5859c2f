"""Classify spectrograms with a small convolutional network, which evaluates generated clips."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.networks.batch_norm import BatchNorm2d


class SpectrogramCNN(nn.Module):
    """Apply convolutions with pooling, average over time, and map a hidden layer (the embedding) to logits.

    Frequencies stay separate up to the hidden layer; averaging over them would discard most of the pitch.

    Args:
        shape: (C, F, L) of the spectrogram. Clips with any other L of at least 2 ** len(widths) work too.
        num_classes: Number of classes, at least 2.
        widths: Output channels of the convolutions; each is followed by pooling that halves the resolution.
        num_features: D, the size of the hidden layer. A Fréchet distance needs more clips than this.

    Raises:
        ValueError: If `num_classes` is below 2, or the spectrogram is too small to be halved len(widths) times.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        widths: Sequence[int] = (32, 64, 96, 128),
        num_features: int = 32,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least two classes, got {num_classes}")
        if min(shape[1:]) < 2 ** len(widths):
            raise ValueError(f"spectrograms of {shape[1]} x {shape[2]} cannot be halved {len(widths)} times")
        self.body = nn.Sequential(*(_block(a, b) for a, b in pairwise((shape[0], *widths))))
        self.hidden = nn.Linear(widths[-1] * (shape[1] >> len(widths)), num_features)
        self.head = nn.Linear(num_features, num_classes)
        self.num_features = num_features

    def embed(self, spec: Tensor) -> Tensor:
        """Return the hidden layer's output before its ReLU, float [B, D], for spec, float [B, C, F, L] in [-1, 1]."""
        return self.hidden(self.body(spec).mean(dim=3).flatten(1))

    def logits(self, features: Tensor) -> Tensor:
        """Return logits, float [B, num_classes], for the hidden layer's output, float [B, D]."""
        return self.head(F.relu(features))

    def forward(self, spec: Tensor) -> Tensor:
        """Return logits, float [B, num_classes], for spec, float [B, C, F, L] in [-1, 1]."""
        return self.logits(self.embed(spec))


def _block(num_in: int, num_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(num_in, num_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, BatchNorm2d(num_out), nn.ReLU(), nn.MaxPool2d(2))
