"""Compare the distributions of generated and real clips by nearest neighbours.

- Precision (Kynkaanniemi et al., 2019): fraction of generated clips within the neighbourhood of a real clip.
- Recall (same paper): fraction of real clips within the neighbourhood of a generated clip.
- Density (Naeem et al., 2020): mean number of real neighbourhoods that contain a generated clip, divided by k.
- Coverage (same paper): fraction of real neighbourhoods that contain a generated clip.
"""

from typing import Any

import torch
from torch import Tensor

from audiogen.metrics.metric import ClipMetric
from audiogen.scalars import DIVERSITY, QUALITY, Scalar


def precision_recall_density_coverage(real: Tensor, generated: Tensor, k: int = 5) -> dict[str, Tensor]:
    """Compute the four scores of two sets of rows.

    Args:
        real: float [N, D] with N > k.
        generated: float [M, D] with M > k.
        k: The neighbourhood of a row reaches to its k-th nearest neighbour in the same set.

    Returns:
        precision, recall and coverage in [0, 1] and density >= 0, float64 [].

    Raises:
        ValueError: If a set has k rows or fewer.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(f"need more than k = {k} rows in each set, got {len(real)} and {len(generated)}")
    real, generated = real.double(), generated.double()
    distance = torch.cdist(real, generated)  # [N, M]
    radius_real, radius_generated = _radius(real, k), _radius(generated, k)
    inside = distance < radius_real[:, None]
    return {
        "precision": inside.any(dim=0).double().mean(),
        "recall": (distance < radius_generated[None]).any(dim=1).double().mean(),
        "density": inside.double().sum(dim=0).mean() / k,
        "coverage": (distance.min(dim=1).values < radius_real).double().mean(),
    }


def _radius(rows: Tensor, k: int) -> Tensor:
    """Return the distance of each row to its k-th nearest neighbour, float64 [N]."""
    return torch.cdist(rows, rows).kthvalue(k + 1, dim=1).values  # the nearest is the row itself


class Neighbours(ClipMetric):
    """Precision, recall, density and coverage of generated clips.

    Args:
        k: Size of a neighbourhood; see `precision_recall_density_coverage`.

    Raises:
        ValueError: If k is below 1.
    """

    scalars = (
        Scalar("precision", QUALITY, higher_is_better=True, reference="real"),
        Scalar("density", QUALITY, reference="real"),
        Scalar("coverage", DIVERSITY, higher_is_better=True, reference="real"),
        Scalar("recall", DIVERSITY, higher_is_better=True, reference="real"),
    )

    def __init__(self, k: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k

    def minimum_rows(self, num_features: int) -> int:
        """Return k + 1."""
        return self.k + 1

    def compute(self) -> dict[str, Tensor]:
        """Return precision, recall, density and coverage, float64 []."""
        return precision_recall_density_coverage(self.real, self.generated, self.k)
