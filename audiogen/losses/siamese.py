"""Losses of MelGAN-VC (Pasini, 2019) and TraVeLGAN (Amodio & Krishnaswamy, 2019) on vectors of a siamese network.

A transformation vector is the difference of the vectors of two segments. Translation should keep it: what changes from
one segment to the other (a vowel, a note) then changes in the same way after it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 0.1


def travel_distance(before: Tensor, after: Tensor) -> Tensor:
    """Return the mean squared difference of transformation vectors, float [N, D] each.

    Example:
        >>> travel_distance(torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
        tensor(3.)
    """
    return F.mse_loss(after, before)


def travel_angle(before: Tensor, after: Tensor) -> Tensor:
    """Return minus the mean cosine between transformation vectors, float [N, D] each: -1 for the same directions.

    Vectors much shorter than the margin count as ones of length 0.1: the direction of nothing has no gradient.

    Example:
        >>> travel_angle(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
        tensor(-0.)
    """
    return -F.cosine_similarity(before, after, dim=1, eps=SHORT).mean()


def siamese_margin(vectors: Tensor, margin: float = 2.0) -> Tensor:
    """Return how far transformation vectors, float [N, D], fall short of a length: mean of max(0, margin - length)^2.

    Without it, a siamese network that maps everything to one point would keep all transformation vectors.

    Example:
        >>> siamese_margin(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor(0.5000)
    """
    # At 0 the length has no gradient: a tiny one, smaller than float32 can tell beside a margin.
    length = vectors.square().sum(dim=1).clamp_min(torch.finfo(vectors.dtype).eps ** 2).sqrt()
    return F.relu(margin - length).square().mean()
