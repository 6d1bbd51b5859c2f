"""Compute the losses of optimisation-based style transfer (Gatys et al., 2015).

Gram matrices are divided by the number of positions only, so that each entry is a mean over time (or over frequency, if
time is in the channels), as in Huzaifah & Wyse (2020), equation 2 and section 5.3.1, and in Jain & Raj's public code.
Squared differences are averaged over the N x N entries, as in Huzaifah & Wyse's public code. The other papers' losses
are constant multiples, which their configs include in the weight: N^2 for Jain & Raj's sum of squares, and 1/4 for
Lin's 1 / (4 N^2 M^2) with M positions.

Each sound has its own loss, summed in float64, because a line search compares values that are nearly equal.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """Return the products of features averaged over all positions (Huzaifah & Wyse, 2020, equation 2).

    Args:
        features: float [B, N, P]: N features at P positions.

    Returns:
        float [B, N, N], divided by P.

    Example:
        >>> gram_matrix(torch.tensor([[[2.0, 4.0, 0.0, 0.0]]]))
        tensor([[[5.]]])
    """
    root = features * features.shape[2] ** -0.5
    return root @ root.mT


class StyleTarget:
    """A target Gram matrix for each sound, with a distance to it (Huzaifah & Wyse, 2020, equation 3).

    A Gram matrix of N features at P positions has at most rank P. If N is larger, as with 4096 channels,
    |X X' - S S'|^2 = |X' X|^2 - 2 |X' S|^2 + |S' S|^2 takes a fraction of the time and needs no N x N matrix.
    In float32 the difference is accurate to 2e-8 of |S' S|^2, and its gradient to 1e-4 when the difference is 1e-5 of
    |S' S|^2.

    Args:
        features: Features of each of B sounds' references, float32 [N, P] each. The target is the weighted mean of the
            references' Gram matrices.
        weights: Weight of each reference, at least 0; None weights them equally.

    Raises:
        ValueError: If the number of weights differs from the number of references, a weight is negative, or all are 0.
    """

    def __init__(self, features: Sequence[Sequence[Tensor]], weights: Sequence[float] | None = None) -> None:
        roots = [_root(references, weights) for references in features]
        longest = max(root.shape[1] for root in roots)
        self.root = torch.stack([F.pad(root, (0, longest - root.shape[1])) for root in roots])  # [B, N, P]
        self._gram: Tensor | None = None
        num = self.root.shape[1]
        product = self.root.mT @ self.root if longest < num else self.gram
        self.power = _sum_squares(product) / num**2  # mean square of the entries, float64 [B]

    @property
    def gram(self) -> Tensor:
        """Target Gram matrices, float32 [B, N, N]."""
        if self._gram is None:
            self._gram = self.root @ self.root.mT
        return self._gram

    def distance(self, features: Tensor) -> Tensor:
        """Return the mean squared difference to the target, float64 [B], of the Gram matrices of features [B, N, P]."""
        num, positions = features.shape[1:]
        if positions + self.root.shape[2] >= num:
            return _sum_squares(gram_matrix(features) - self.gram) / num**2
        root = features * positions**-0.5
        own, cross = _sum_squares(root.mT @ root), _sum_squares(root.mT @ self.root)
        return (own - 2 * cross) / num**2 + self.power


def _root(references: Sequence[Tensor], weights: Sequence[float] | None) -> Tensor:
    """Return a matrix R, float32 [N, P], such that R R' is the mean of the references' Gram matrices."""
    mix = [1.0] * len(references) if weights is None else weights
    if len(mix) != len(references) or min(mix) < 0 or sum(mix) <= 0:
        raise ValueError(f"need a weight of at least 0 for each of {len(references)} references, got {list(mix)}")
    roots = [
        features * (weight / sum(mix) / features.shape[1]) ** 0.5
        for features, weight in zip(references, mix, strict=True)
        if weight > 0
    ]
    return torch.cat(roots, dim=1)


def content_distance(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference between features and their target, both float [B, N, P], as float64 [B]."""
    return _sum_squares(features - wanted) / features[0].numel()


def excess(spec: Tensor) -> Tensor:
    """Return the norm of the values of spec [B, C, F, L] outside [0, 1], float64 [B] (Huzaifah & Wyse, equation 4)."""
    beyond = spec - spec.clamp(0, 1)
    return torch.linalg.vector_norm(beyond.flatten(1).double(), dim=1)


def _sum_squares(values: Tensor) -> Tensor:
    """Return the sum over all but the first dimension, float64 [B]."""
    return values.double().square().flatten(1).sum(dim=1)
