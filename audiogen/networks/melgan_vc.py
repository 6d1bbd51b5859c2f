"""Define the three networks of MelGAN-VC (Pasini, 2019) for any number of bands and frames.

A kernel over all bands and a few frames is a convolution over time with the bands as input channels, so spectrograms
[B, C, F, L] are processed as [B, C F, 1, L]. The other kernels, such as 1 x 9, are as in the paper. Convolutions have
no bias and He-uniform weights; activations are leaky ReLUs with slope 0.2.

Deviation: with several targets, the generator's batch norms have a gain and a bias per target (conditional batch
normalisation), and the discriminator has a logit per target.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from audiogen.networks.batch_norm import BatchNorm2d

Shape = tuple[int, int, int]
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
SLOPE = 0.2
FIRST = 3  # frames spanned by the kernel over all bands


class Generator(nn.Module):
    """Convert a segment from one domain to another: two downsampling and two upsampling blocks with skips.

    Args:
        shape: (C, F, L) of a segment; segments with any other L work too.
        num_targets: Number of target domains; 0 for a single, unnamed one.
        width: Channels of the convolutions.
    """

    def __init__(self, shape: Shape, num_targets: int = 0, width: int = 256) -> None:
        super().__init__()
        bands = shape[0] * shape[1]

        def block(num_in: int, kernel: int, stride: int = 1, norm: bool = True) -> _Block:
            convolution = spectral_norm(_convolution(num_in, width, kernel, stride))
            return _Block(convolution, TargetNorm(width, num_targets) if norm else None)

        self.bands = block(bands, FIRST)
        self.down = nn.ModuleList([block(width, 9, 2), block(width, 7, 2)])
        self.up = nn.ModuleList([block(width, 7), block(2 * width, 9, norm=False)])
        self.out = spectral_norm(_convolution(2 * width, bands, 1))

    def forward(self, spec: Tensor, target: Tensor | None = None) -> Tensor:
        """Convert segments.

        Args:
            spec: float [B, C, F, L] in [-1, 1].
            target: Target domain of each segment, int64 [B]; None if there is only one.

        Returns:
            spec, float [B, C, F, L] in [-1, 1].
        """
        first = self.bands(_bands_as_channels(spec), target)
        half = self.down[0](first, target)
        quarter = self.down[1](half, target)
        up = torch.cat([self.up[0](_as_long_as(half, quarter), target), half], dim=1)
        up = torch.cat([self.up[1](_as_long_as(first, up), target), first], dim=1)
        return self.out(up).tanh().view(spec.shape)  # [B, C F, 1, L] -> [B, C, F, L]


class Siamese(nn.Module):
    """Map a segment to a vector, so that differences of vectors describe what changes within a sound.

    Args:
        shape: (C, F, L) of a segment, with L >= 3.
        num_features: Size of the vector.
        width: Channels of the convolutions.

    Raises:
        ValueError: If L is below 3.
    """

    def __init__(self, shape: Shape, num_features: int = 128, width: int = 256) -> None:
        super().__init__()
        convolutions = _downsampling(shape, width)
        self.body = nn.Sequential(*(_Block(convolution, TargetNorm(width, 0)) for convolution in convolutions))
        self.head = nn.Linear(width * _frames_left(shape), num_features)

    def forward(self, spec: Tensor) -> Tensor:
        """Return vectors, float [B, num_features], for segments, float [B, C, F, L] in [-1, 1]."""
        return self.head(self.body(_bands_as_channels(spec)).flatten(1))


class Discriminator(nn.Module):
    """Distinguish real clips of a domain from clips joined from converted segments.

    Args:
        shape: (C, F, L) of a clip, with L >= 3.
        num_targets: Number of domains, each with its own logit; 0 for a single, unnamed one.
        width: Channels of the convolutions.

    Raises:
        ValueError: If L is below 3.
    """

    def __init__(self, shape: Shape, num_targets: int = 0, width: int = 512) -> None:
        super().__init__()
        convolutions = _downsampling(shape, width)
        self.body = nn.Sequential(*(_Block(spectral_norm(convolution), None) for convolution in convolutions))
        self.head = spectral_norm(_he_uniform(nn.Linear(width * _frames_left(shape), max(num_targets, 1))))

    def forward(self, spec: Tensor, target: Tensor | None = None) -> Tensor:
        """Return logits, float [B], for clips, float [B, C, F, L], of domains `target`, int64 [B]."""
        logits = self.head(self.body(_bands_as_channels(spec)).flatten(1))  # [B, max(num_targets, 1)]
        return logits[:, 0] if target is None else logits.gather(1, target[:, None])[:, 0]


class TargetNorm(nn.Module):
    """Batch normalisation with a gain and a bias per target.

    Args:
        width: Number of channels.
        num_targets: Number of gains and biases; 0 for a single one.
    """

    def __init__(self, width: int, num_targets: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(width, affine=False)
        self.gain = nn.Parameter(torch.ones(max(num_targets, 1), width))
        self.bias = nn.Parameter(torch.zeros(max(num_targets, 1), width))

    def forward(self, x: Tensor, target: Tensor | None) -> Tensor:
        """Normalise float [B, width, 1, L] for targets int64 [B]."""
        gain, bias = (w if target is None else w[target] for w in (self.gain, self.bias))
        return torch.addcmul(bias[..., None, None], self.norm(x), gain[..., None, None])


class _Block(nn.Module):
    def __init__(self, convolution: nn.Module, norm: TargetNorm | None) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        x = self.convolution(x)
        return F.leaky_relu(x if self.norm is None else self.norm(x, target), SLOPE)


def _convolution(num_in: int, num_out: int, kernel: int, stride: int = 1, padded: bool = True) -> nn.Conv2d:
    padding = kernel // 2 if padded else 0
    return _he_uniform(nn.Conv2d(num_in, num_out, (1, kernel), (1, stride), (0, padding), bias=False))


def _downsampling(shape: Shape, width: int) -> list[nn.Conv2d]:
    """Return the convolutions used by both the siamese network and the discriminator."""
    first = _convolution(shape[0] * shape[1], width, FIRST, padded=False)
    return [first, _convolution(width, width, 9, 2), _convolution(width, width, 7, 2)]


def _frames_left(shape: Shape) -> int:
    """Return the number of frames after these convolutions: 6 for 24.

    Raises:
        ValueError: If a clip has fewer than 3 frames.
    """
    if shape[2] < FIRST:
        raise ValueError(f"need at least {FIRST} frames, got {shape[2]}")
    return (shape[2] - FIRST + 1 + 3) // 4  # halved twice, rounded up


def _he_uniform(layer: Layer) -> Layer:
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return layer


def _bands_as_channels(spec: Tensor) -> Tensor:
    """Turn spec [B, C, F, L] into [B, C F, 1, L]."""
    return spec.flatten(1, 2)[:, :, None].contiguous(memory_format=torch.channels_last)


def _as_long_as(skip: Tensor, x: Tensor) -> Tensor:
    """Repeat each frame of x [B, width, 1, L] and cut off what a skip [B, width, 1, L'] does not have."""
    return F.interpolate(x, scale_factor=(1, 2), mode="nearest")[..., : skip.shape[3]]
