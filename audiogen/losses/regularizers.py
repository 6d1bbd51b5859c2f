"""Compute GAN regularisers. R1 and path length differentiate twice and need float32."""

import math

import torch
from torch import Tensor


def r1_penalty(logits: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared gradient norm of the logits at real clips (Mescheder et al., 2018, equation 9).

    Args:
        logits: float [B], computed from `real`.
        real: float [B, C, F, L] that requires a gradient.

    Returns:
        Scalar with a graph. The loss is gamma / 2 times this.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def path_lengths(spec: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """Return how strongly each clip depends on its style: |J^T y| for noise y (Karras et al., 2020, section 3.2).

    Args:
        spec: float [B, C, F, L], computed from `ws`.
        ws: Styles, float [B, num_ws, w_dim], that require a gradient.
        noise: Standard normal y, same shape as `spec`.

    Returns:
        float [B] with a graph.
    """
    scaled = noise / math.sqrt(spec.shape[2] * spec.shape[3])
    (gradient,) = torch.autograd.grad((spec * scaled).sum(), ws, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """Return the mean squared difference of path lengths, float [B], from their running mean, a scalar.

    Example:
        >>> path_length_penalty(torch.tensor([1.0, 3.0]), torch.tensor(2.0))
        tensor(1.)
    """
    return (lengths - mean).square().mean()


def mode_seeking(spec: Tensor, z: Tensor) -> Tensor:
    """Return the similarity of clips with different latents, which is high at mode collapse (Mao et al., 2019, eq. 2).

    Args:
        spec: float [2 N, C, F, L]; clips 2 i and 2 i + 1 form a pair, of the same class if there are classes.
        z: Latents of the clips, float [2 N, D].

    Returns:
        Scalar with a graph: the mean over pairs of mean |z difference| / mean |spec difference|.

    Example:
        >>> mode_seeking(torch.tensor([0.0, 0.5]).reshape(2, 1, 1, 1), torch.tensor([[1.0], [2.0]])).round(decimals=2)
        tensor(2.)
    """
    first, second = spec[::2], spec[1::2]
    first_z, second_z = z[::2], z[1::2]
    ratio = (first - second).abs().mean(dim=(1, 2, 3)) / (first_z - second_z).abs().mean(dim=1)
    return (1 / (ratio + 1e-3)).mean()  # finite for identical clips
