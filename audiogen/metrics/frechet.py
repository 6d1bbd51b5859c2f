"""The Frechet distance between two sets of embeddings: FAD (Kilgour et al., 2019), FID (Heusel et al., 2017).

torchmetrics' FrechetInceptionDistance is right where a clip is one row, and tests hold that ours equals it there. It is
not used, because it counts clips where an audio embedding gives several rows for each, takes square roots of a matrix
that is not symmetric, and rounds the result to the features' precision.

The distance of finite sets is too large by about trace / N times a constant. Compare with the floor, the distance of
real training clips in the same number, or take the estimate for infinitely many clips (Chong & Forsyth, 2020; Gui et
al., 2024).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.metrics.metric import ClipMetric, EmbeddingMetric
from audiogen.scalars import QUALITY, Scalar


class Moments(NamedTuple):
    """Mean, float64 [D], and unbiased covariance, float64 [D, D], of rows."""

    mean: Tensor
    cov: Tensor


def moments(rows: Tensor) -> Moments:
    """Return the moments of rows, float [N, D].

    Example:
        >>> moments(torch.tensor([[0.0], [2.0]]))
        Moments(mean=tensor([1.], dtype=torch.float64), cov=tensor([[2.]], dtype=torch.float64))
    """
    rows = rows.double()
    mean = rows.mean(dim=0)
    centred = rows - mean
    return Moments(mean, centred.T @ centred / (len(rows) - 1))


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Return the Frechet distance of two normal distributions (Dowson & Landau, 1982).

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)). The last trace is the sum of the singular values of
    cov_a^(1/2) cov_b^(1/2): only symmetric matrices are decomposed, so nothing becomes complex and singular matrices do
    no harm.

    Args:
        mean_a: float [D].
        cov_a: float [D, D], symmetric.
        mean_b: float [D].
        cov_b: float [D, D], symmetric.

    Returns:
        float64 [], never negative.

    Raises:
        ValueError: For other shapes, and for values that are NaN or infinite.

    Example:
        >>> eye = torch.eye(2)
        >>> float(frechet_distance(torch.zeros(2), eye, torch.ones(2), 4 * eye))  # 2 + 2 (1 + 4 - 2 * 2)
        4.0
    """
    tensors = [torch.as_tensor(x).double() for x in (mean_a, cov_a, mean_b, cov_b)]
    size = tensors[0].shape[0] if tensors[0].ndim == 1 else -1
    if [tuple(x.shape) for x in tensors] != [(size,), (size, size)] * 2:
        raise ValueError(f"expected means [D] and covariances [D, D], got {[list(x.shape) for x in tensors]}")
    if not all(torch.isfinite(x).all() for x in tensors):
        raise ValueError("means and covariances must be finite")
    mean_a, cov_a, mean_b, cov_b = tensors
    root_a = _root(cov_a)
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * _trace_of_root(root_a, cov_b)
    return distance.clamp_min(0)


def frechet_infinity(rows: Tensor, mean: Tensor, cov: Tensor, num_sizes: int = 5, num_draws: int = 3) -> Tensor:
    """Extrapolate the Frechet distance of clips to a normal distribution to infinitely many clips.

    The bias is proportional to 1/N: distances of random subsets of several sizes N are fitted by a line over 1/N
    (Chong & Forsyth, 2020), whose value at 0 is returned.

    Args:
        rows: float [N, K, D], K rows of each of N clips; clips are drawn.
        mean: float [D], of what to compare with; its own bias stays.
        cov: float [D, D].
        num_sizes: Sizes of subsets, from N/4 to N.
        num_draws: Subsets of each size but the last; their mean is taken.

    Returns:
        float64 []; the estimate of a small distance may be negative.
    """
    rows = rows.double()
    generator = torch.Generator().manual_seed(0)
    root, trace = _root(cov.double()), cov.double().trace()
    sizes = torch.linspace(max(len(rows) // 4, 2), len(rows), num_sizes).long().tolist()
    means = []
    for size in sizes:
        draws = [rows[torch.randperm(len(rows), generator=generator)[:size]] for _ in range(num_draws)]
        found = [moments(draw.flatten(0, 1)) for draw in (draws if size < len(rows) else [rows])]
        distances = [
            (m.mean - mean).square().sum() + m.cov.trace() + trace - 2 * _trace_of_root(root, m.cov) for m in found
        ]
        means.append(torch.stack(distances).mean())
    over = torch.tensor([1 / size for size in sizes], dtype=torch.float64)
    design = torch.stack([torch.ones_like(over), over], dim=1)  # [S, 2]
    return torch.linalg.lstsq(design, torch.stack(means).cpu()[:, None]).solution[0, 0]


class FrechetDistance(EmbeddingMetric):
    """FAD, or FID of picture embeddings, over rows. Its state is sums: any number of clips takes the same memory."""

    scalars = (Scalar("fad", QUALITY, higher_is_better=False, reference="floor", log_scale=True),)
    per_class = True
    count: Tensor
    total: Tensor
    outer: Tensor

    def minimum_rows(self, num_features: int) -> int:
        """Return D + 1: with fewer clips the covariance has no full rank and the distance is mostly bias."""
        return num_features + 1

    def set_real(self, rows: Tensor) -> None:
        """Take the rows of real clips, float [N, K, D]."""
        self.moments = moments(rows.flatten(0, 1))
        size = rows.shape[2]
        for name, shape in (("count", ()), ("total", (size,)), ("outer", (size, size))):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64, device=rows.device), dist_reduce_fx="sum")

    def update(self, rows: Tensor) -> None:
        """Add rows of generated clips, float [N, K, D]."""
        # Sums around the real mean: the far smaller numbers keep their digits.
        centred = rows.flatten(0, 1).double() - self.moments.mean
        self.count += len(centred)
        self.total += centred.sum(dim=0)
        self.outer += centred.T @ centred

    def compute(self) -> dict[str, Tensor]:
        """Return {"fad": float64 []}."""
        mean = self.total / self.count
        cov = (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return {"fad": frechet_distance(mean + self.moments.mean, cov, *self.moments)}


class FrechetInfinity(ClipMetric):
    """The Frechet distance extrapolated to infinitely many generated clips."""

    scalars = (Scalar("fad_infinity", QUALITY, higher_is_better=False, reference="floor", log_scale=True),)

    def minimum_rows(self, num_features: int) -> int:
        """Return D + 1, as for the distance itself."""
        return num_features + 1

    def set_real(self, rows: Tensor) -> None:
        """Take the rows of real clips, float [N, K, D]."""
        self.moments = moments(rows.flatten(0, 1))

    def compute(self) -> dict[str, Tensor]:
        """Return {"fad_infinity": float64 []}."""
        return {"fad_infinity": frechet_infinity(self.generated_rows, *self.moments)}


def _root(cov: Tensor) -> Tensor:
    """Return the symmetric root of a symmetric matrix without its negative part, which is rounding."""
    values, vectors = torch.linalg.eigh(cov)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def _trace_of_root(root_a: Tensor, cov_b: Tensor) -> Tensor:
    """Return tr((cov_a cov_b)^(1/2)) of root_a = cov_a^(1/2)."""
    return torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp_min(0).sqrt().sum()
