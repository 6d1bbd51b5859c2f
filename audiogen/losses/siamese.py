"""Compute the siamese losses of MelGAN-VC (Pasini, 2019) and TraVeLGAN (Amodio & Krishnaswamy, 2019).

A transformation vector is the difference between the siamese network's vectors of two segments. Conversion should
preserve it, so that what changes between the segments (a vowel, a note) changes the same way after conversion.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 0.1  # vectors shorter than this count as this long


def travel_distance(before: Tensor, after: Tensor) -> Tensor:
    """Return the mean squared difference between transformation vectors, float [N, D] each.

    Example:
        >>> travel_distance(torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
        tensor(3.)
    """
    return F.mse_loss(after, before)


def travel_angle(before: Tensor, after: Tensor) -> Tensor:
    """Return minus the mean cosine between transformation vectors, float [N, D] each: -1 for equal directions.

    Vectors shorter than 0.1 are treated as having length 0.1, because a zero vector's direction has no gradient.

    Example:
        >>> travel_angle(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
        tensor(-0.)
    """
    return -F.cosine_similarity(before, after, dim=1, eps=SHORT).mean()


def siamese_margin(vectors: Tensor, margin: float = 2.0) -> Tensor:
    """Return how far transformation vectors, float [N, D], fall short of a length: mean of max(0, margin - length)^2.

    Without it, a siamese network that maps everything to one point would preserve all transformation vectors.

    Example:
        >>> siamese_margin(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor(0.5000)
    """
    # The length has no gradient at 0. The minimum is too small to matter in float32.
    length = vectors.square().sum(dim=1).clamp_min(torch.finfo(vectors.dtype).eps ** 2).sqrt()
    return F.relu(margin - length).square().mean()
