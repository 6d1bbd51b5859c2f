"""The Frechet distance between two sets of embeddings: FAD (Kilgour et al., 2019), FID (Heusel et al., 2017).

torchmetrics' FrechetInceptionDistance is not used: it counts clips instead of rows, although audio embeddings have
several rows per clip; it takes the square root of a matrix that is not symmetric; and it rounds the result to the
precision of the features. Tests check that this implementation equals it for one row per clip.

For finite sets, the distance is biased upwards by a term proportional to 1 / N. Compare it with the floor, the distance
of equally many real training clips, or use the estimate for infinitely many clips (Chong & Forsyth, 2020; Gui et al.,
2024).
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
    """Return the mean and the covariance of rows, float [N, D].

    Example:
        >>> moments(torch.tensor([[0.0], [2.0]]))
        Moments(mean=tensor([1.], dtype=torch.float64), cov=tensor([[2.]], dtype=torch.float64))
    """
    rows = rows.double()
    mean = rows.mean(dim=0)
    centred = rows - mean
    return Moments(mean, centred.T @ centred / (len(rows) - 1))


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Return the squared Frechet distance between two normal distributions (Dowson & Landau, 1982).

    It is |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)). The trace of the root is computed as the sum
    of the singular values of cov_a^(1/2) cov_b^(1/2). Only symmetric matrices are decomposed, so nothing becomes
    complex, and singular matrices are allowed. FAD and FID are this squared distance.

    Args:
        mean_a: float [D].
        cov_a: float [D, D], symmetric.
        mean_b: float [D].
        cov_b: float [D, D], symmetric.

    Returns:
        float64 [], never negative.

    Raises:
        ValueError: If a shape differs, or a value is NaN or infinite.

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
        raise ValueError("expected finite means and covariances, got NaN or infinite values")
    mean_a, cov_a, mean_b, cov_b = tensors
    root_a = _root(cov_a)
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * _trace_of_root(root_a, cov_b)
    return distance.clamp_min(0)


def frechet_infinity(rows: Tensor, mean: Tensor, cov: Tensor, num_sizes: int = 5, num_draws: int = 3) -> Tensor:
    """Extrapolate the Frechet distance to infinitely many generated clips.

    The bias is proportional to 1 / N. A line over 1 / N is fitted to the distances of random subsets of several sizes N
    (Chong & Forsyth, 2020). Its value at 0 is the estimate.

    Args:
        rows: float [N, K, D], K rows for each of N generated clips. Subsets consist of whole clips.
        mean: Mean of the real rows, float [D]. The bias due to their finite number remains.
        cov: Covariance of the real rows, float [D, D].
        num_sizes: Number of subset sizes, from N / 4 to N.
        num_draws: Number of subsets per size, whose distances are averaged. The full size has one.

    Returns:
        float64 []. Estimates of small distances can be negative.
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
    """FAD, or FID for image embeddings. It keeps running sums, so memory does not depend on the number of clips."""

    scalars = (Scalar("fad", QUALITY, higher_is_better=False, reference="floor", log_scale=True),)
    per_class = True
    count: Tensor
    total: Tensor
    outer: Tensor

    def minimum_rows(self, num_features: int) -> int:
        """Return D + 1. With fewer clips the covariance is singular and the distance is mostly bias."""
        return num_features + 1

    def set_real(self, rows: Tensor) -> None:
        """Set the rows of real clips, float [N, K, D]."""
        self.moments = moments(rows.flatten(0, 1))
        size = rows.shape[2]
        for name, shape in (("count", ()), ("total", (size,)), ("outer", (size, size))):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64, device=rows.device), dist_reduce_fx="sum")

    def update(self, rows: Tensor) -> None:
        """Add rows of generated clips, float [N, K, D]."""
        # Subtracting the real mean keeps the sums small, and so their precision.
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
        """Return D + 1, as `FrechetDistance`."""
        return num_features + 1

    def set_real(self, rows: Tensor) -> None:
        """Set the rows of real clips, float [N, K, D]."""
        self.moments = moments(rows.flatten(0, 1))

    def compute(self) -> dict[str, Tensor]:
        """Return {"fad_infinity": float64 []}."""
        return {"fad_infinity": frechet_infinity(self.generated_rows, *self.moments)}


def _root(cov: Tensor) -> Tensor:
    """Return the square root of a positive semi-definite matrix; negative eigenvalues are rounding errors."""
    values, vectors = torch.linalg.eigh(cov)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def _trace_of_root(root_a: Tensor, cov_b: Tensor) -> Tensor:
    """Return tr((cov_a cov_b)^(1/2)), given root_a = cov_a^(1/2)."""
    return torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp_min(0).sqrt().sum()
