"""Measure the diversity of generated clips, relative to real ones."""

import torch
from torch import Tensor

from audiogen.metrics.frechet import moments
from audiogen.metrics.metric import ClipMetric
from audiogen.scalars import DIVERSITY, Scalar

DIVERSITY_MIN = Scalar("diversity_min", DIVERSITY)  # `diversity` of the least diverse class


def vendi_score(rows: Tensor) -> Tensor:
    """Return the Vendi score (Friedman & Dieng, 2023): the effective number of distinct rows.

    It is the exponential of the entropy of the eigenvalues of K / N, where K [N, N] contains the cosine similarities.
    With N > D, the nonzero eigenvalues are computed from a smaller matrix [D, D].

    Args:
        rows: float [N, D].

    Returns:
        float64 [], from 1 (all rows have the same direction) to N.

    Example:
        >>> round(float(vendi_score(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]]))), 6)
        2.0
    """
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    gram = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T
    return effective_rank(gram)


def effective_rank(matrix: Tensor) -> Tensor:
    """Return the effective rank of a matrix (Roy & Vetterli, 2007): the exponential of its eigenvalues' entropy.

    Args:
        matrix: float [D, D], symmetric and positive semi-definite.

    Returns:
        float64 [], from 1 to D; 0 for the zero matrix.
    """
    values = torch.linalg.eigvalsh(matrix.double()).clamp_min(0)
    if not values.sum():
        return values.sum()
    return torch.special.entr(values / values.sum()).sum().exp()


def mean_distance(rows: Tensor) -> Tensor:
    """Return the mean pairwise distance, float64 [], of rows float [N, D].

    Example:
        >>> mean_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor(5., dtype=torch.float64)
    """
    return torch.pdist(rows.double()).mean()


class Diversity(ClipMetric):
    """Mean pairwise distance of generated clips, divided by the mean of real clips; 1 is as diverse as the data."""

    scalars = (Scalar("diversity", DIVERSITY, reference="real"),)
    per_class = True

    def compute(self) -> dict[str, Tensor]:
        """Return {"diversity": float64 []}."""
        return {"diversity": mean_distance(self.generated) / mean_distance(self.real)}


class Spread(ClipMetric):
    """Total variance and effective rank of the covariance of generated clips, relative to real ones."""

    scalars = (
        Scalar("variance_ratio", DIVERSITY, reference="real"),
        Scalar("rank_ratio", DIVERSITY, reference="real"),
    )

    def compute(self) -> dict[str, Tensor]:
        """Return {"variance_ratio": float64 [], "rank_ratio": float64 []}."""
        generated, real = moments(self.generated).cov, moments(self.real).cov
        return {
            "variance_ratio": generated.trace() / real.trace(),
            "rank_ratio": effective_rank(generated) / effective_rank(real),
        }


class Vendi(ClipMetric):
    """The Vendi score of the generated clips; compare it with the score of real ones."""

    scalars = (Scalar("vendi", DIVERSITY, reference="real"),)

    def compute(self) -> dict[str, Tensor]:
        """Return {"vendi": float64 []}."""
        return {"vendi": vendi_score(self.generated)}
