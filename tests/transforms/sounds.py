"""Sounds for the tests of transforms, float32 [1, 1, T]."""

import torch
from torch import Tensor

from audiogen.transforms.transform import SpectrogramTransform


def sine(transform: SpectrogramTransform, frequency: float, level: float = 0.5) -> Tensor:
    """Return a steady sine of a frequency in Hz."""
    return chirp(transform, frequency, frequency, level)


def chirp(transform: SpectrogramTransform, first: float, last: float, level: float = 0.5) -> Tensor:
    """Return a sine that glides linearly between two frequencies in Hz over the clip."""
    time = torch.arange(transform.num_samples, dtype=torch.float64) / transform.sample_rate
    cycles = first * time + (last - first) * time.square() / (2 * transform.seconds)
    return (level * torch.sin(2 * torch.pi * cycles)).float()[None, None]


def harmonic(transform: SpectrogramTransform, fundamental: float = 180.0, level: float = 0.2) -> Tensor:
    """Return a decaying sound with vibrato and twelve partials."""
    time = torch.arange(transform.num_samples) / transform.sample_rate
    phase = 2 * torch.pi * (fundamental * time + 0.4 * torch.sin(2 * torch.pi * 5 * time))
    partials = [torch.sin(k * phase + k * k) / k for k in range(1, 13)]
    return (level * torch.stack(partials).sum(dim=0) * torch.exp(-3 * time))[None, None]


def noise(transform: SpectrogramTransform, batch: int = 1) -> Tensor:
    """Return white noise, float32 [batch, C, T], deterministic for each shape."""
    shape = (batch, transform.shape[0], transform.num_samples)
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
