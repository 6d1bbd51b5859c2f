"""Kernel distances, unbiased for any number of clips: KAD (Chung et al., 2025) and KID (Binkowski et al., 2018).

torchmetrics' KernelInceptionDistance averages over random subsets, because its `poly_mmd` needs sets of equal size.
This implementation compares all pairs and uses no random numbers. Tests check that it equals `poly_mmd` for sets of
equal size.
"""

from typing import Literal

import torch
from torch import Tensor

from audiogen.metrics.metric import ClipMetric
from audiogen.scalars import QUALITY, Scalar

Kernel = Literal["gaussian", "polynomial"]


def kernel_distance(a: Tensor, b: Tensor, kernel: Kernel = "gaussian", bandwidth: float | None = None) -> Tensor:
    """Return the unbiased squared maximum mean discrepancy (Gretton et al., 2012, equation 3).

    Args:
        a: float [N, D], at least two rows.
        b: float [M, D], real rows, at least two.
        kernel: "gaussian" is exp(-|x - y|^2 / (2 bandwidth^2)) (KAD), "polynomial" (x . y / D + 1)^3 (KID).
        bandwidth: Bandwidth of the Gaussian; by default the median distance among real rows.

    Returns:
        float64 [], without a scale factor. It is 0 on average for equal distributions, and can be negative.

    Raises:
        ValueError: If a set has fewer than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"need at least two rows in each set, got {len(a)} and {len(b)}")
    a, b = a.double(), b.double()
    # With identical real rows the median is 0, and any bandwidth will do.
    width = bandwidth or float(torch.pdist(b).median()) or 1.0

    def similarity(x: Tensor, y: Tensor) -> Tensor:
        if kernel == "polynomial":
            return (x @ y.T / x.shape[1] + 1) ** 3
        return torch.exp(torch.cdist(x, y).square() / (-2 * width * width))

    return _mean_of_others(similarity(a, a)) + _mean_of_others(similarity(b, b)) - 2 * similarity(a, b).mean()


class KernelDistance(ClipMetric):
    """Kernel distance from generated to real clips.

    Args:
        kernel: "gaussian" for KAD, "polynomial" for KID; see `kernel_distance`.
    """

    scalars = (Scalar("kad", QUALITY, higher_is_better=False, reference="floor", log_scale=True),)

    def __init__(self, kernel: Kernel = "gaussian") -> None:
        super().__init__()
        self.kernel: Kernel = kernel

    def compute(self) -> dict[str, Tensor]:
        """Return {"kad": float64 []}."""
        return {"kad": kernel_distance(self.generated, self.real, self.kernel)}


def _mean_of_others(similarity: Tensor) -> Tensor:
    """Return the mean of the off-diagonal elements of a square matrix."""
    return (similarity.sum() - similarity.trace()) / (len(similarity) * (len(similarity) - 1))
