"""Distances by kernels: KAD (Chung et al., 2025) and KID (Binkowski et al., 2018). Unbiased: right on average at any N.

torchmetrics' KernelInceptionDistance draws random subsets of equal size, for its `poly_mmd` needs equal sizes; tests
hold that ours equals that function there. With a few hundred clips all can be compared with all, and nothing is random.
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
        bandwidth: Of the Gaussian; the median distance among real rows by default.

    Returns:
        float64 [], unscaled; 0 on average for rows of one distribution, and so at times negative.

    Raises:
        ValueError: For fewer than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"need at least two rows on each side, got {len(a)} and {len(b)}")
    a, b = a.double(), b.double()
    # Identical real rows have no median distance above 0: any bandwidth tells them from others.
    width = bandwidth or float(torch.pdist(b).median()) or 1.0

    def similarity(x: Tensor, y: Tensor) -> Tensor:
        if kernel == "polynomial":
            return (x @ y.T / x.shape[1] + 1) ** 3
        return torch.exp(torch.cdist(x, y).square() / (-2 * width * width))

    return _mean_of_others(similarity(a, a)) + _mean_of_others(similarity(b, b)) - 2 * similarity(a, b).mean()


class KernelDistance(ClipMetric):
    """KAD, or with the polynomial kernel KID.

    Args:
        kernel: See `kernel_distance`.
    """

    scalars = (Scalar("kad", QUALITY, higher_is_better=False, reference="floor", log_scale=True),)

    def __init__(self, kernel: Kernel = "gaussian") -> None:
        super().__init__()
        self.kernel: Kernel = kernel

    def compute(self) -> dict[str, Tensor]:
        """Return {"kad": float64 []}."""
        return {"kad": kernel_distance(self.generated, self.real, self.kernel)}


def _mean_of_others(similarity: Tensor) -> Tensor:
    """Return the mean of a square matrix off its diagonal."""
    return (similarity.sum() - similarity.trace()) / (len(similarity) * (len(similarity) - 1))
