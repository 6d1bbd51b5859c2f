"""Kernel distances against a direct computation."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from audiogen.metrics.kernel import KernelDistance, kernel_distance


def by_loops(a: Tensor, b: Tensor, width: float) -> float:
    """Return the unbiased squared discrepancy, pair by pair."""

    def k(x: Tensor, y: Tensor) -> float:
        return math.exp(-float((x - y).square().sum()) / (2 * width * width))

    aa = sum(k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / (len(a) * (len(a) - 1))
    bb = sum(k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j) / (len(b) * (len(b) - 1))
    return aa + bb - 2 * sum(k(x, y) for x in a for y in b) / (len(a) * len(b))


def normal(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_distance_equals_a_direct_computation() -> None:
    a, b = normal(12, 0, 0.5), normal(9, 1)
    assert float(kernel_distance(a, b, bandwidth=2.0)) == pytest.approx(by_loops(a, b, 2.0), rel=1e-9)


def test_bandwidth_is_the_median_distance_of_real_rows() -> None:
    a, b = normal(12, 0, 0.5), normal(10, 1)
    width = float(torch.pdist(b).median())
    assert float(kernel_distance(a, b)) == pytest.approx(by_loops(a, b, width), rel=1e-9)


def test_distance_of_equal_distributions_is_zero_on_average_at_any_size() -> None:
    for num in (10, 100):
        found = torch.stack([kernel_distance(normal(num, seed), normal(num, 1000 + seed)) for seed in range(100)])
        assert abs(float(found.mean())) < 3 * float(found.std()) / 10
        assert (found < 0).any()


def test_distance_grows_with_the_difference() -> None:
    real = normal(100, 0)
    found = [float(kernel_distance(normal(100, 1, shift), real)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert found == sorted(found)
    assert found[-1] > 0.5


def test_identical_real_rows_give_a_finite_distance() -> None:
    distance = kernel_distance(normal(10, 0), torch.zeros(10, 5))
    assert torch.isfinite(distance)
    assert float(distance) > float(kernel_distance(normal(10, 0), normal(10, 1)))


def test_single_row_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two rows in each set, got 1 and 5"):
        kernel_distance(normal(1, 0), normal(5, 1))


def test_polynomial_kernel_equals_torchmetrics_kid() -> None:
    a, b = normal(20, 0, 0.5), normal(20, 1)
    metric = KernelDistance("polynomial")
    metric.set_real(b[:, None])
    metric.update(a[:, None])
    assert float(metric.compute()["kad"]) == pytest.approx(float(poly_mmd(a, b)), rel=1e-9)


def test_distance_is_unbiased_for_sets_of_different_sizes() -> None:
    found = [kernel_distance(normal(10, seed), normal(50, 1000 + seed), "polynomial") for seed in range(100)]
    assert abs(float(torch.stack(found).mean())) < 3 * float(torch.stack(found).std()) / 10
