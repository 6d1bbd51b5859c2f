"""The Frechet distance, against scipy's matrix root and in closed form."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from audiogen.metrics.frechet import FrechetDistance, FrechetInfinity, frechet_distance, frechet_infinity, moments


def rows(num: int, size: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Return rows of a normal distribution whose covariance is not diagonal, float64 [N, D]."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return scale * torch.randn(num, size, generator=generator, dtype=torch.float64) @ mix + shift


def by_scipy(a: Tensor, b: Tensor) -> float:
    """Return the distance of rows by the textbook formula."""
    mean_a, mean_b = a.numpy().mean(0), b.numpy().mean(0)
    cov_a, cov_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root.real))


@pytest.mark.parametrize(("num", "size"), [(50, 8), (300, 64), (1000, 128)])
def test_distance_equals_scipys_formula(num: int, size: int) -> None:
    a, b = rows(num, size), rows(num + 7, size, seed=1, scale=1.5, shift=0.3)
    assert float(frechet_distance(*moments(a), *moments(b))) == pytest.approx(by_scipy(a, b), rel=1e-6)


@pytest.mark.parametrize(("num", "size"), [(200, 16), (10, 64), (2, 8)])
def test_distance_of_a_set_to_itself_is_zero(num: int, size: int) -> None:
    a = moments(rows(num, size))
    assert 0 <= float(frechet_distance(*a, *a)) < 1e-9 * float(a.cov.trace())


@pytest.mark.parametrize("num", [2, 5, 31])
def test_distance_of_fewer_rows_than_dimensions_is_finite_and_not_negative(num: int) -> None:
    distance = frechet_distance(*moments(rows(num, 32)), *moments(rows(num, 32, seed=1)))
    assert torch.isfinite(distance)
    assert distance > 0


def test_distance_is_symmetric() -> None:
    a, b = moments(rows(100, 16)), moments(rows(80, 16, seed=3))
    assert float(frechet_distance(*a, *b)) == pytest.approx(float(frechet_distance(*b, *a)), rel=1e-9)


def test_distance_of_shifted_rows_is_the_squared_shift() -> None:
    a = rows(100, 16)
    assert float(frechet_distance(*moments(a), *moments(a + 0.5))) == pytest.approx(16 * 0.25, rel=1e-9)


def test_constant_rows_lie_at_the_trace_plus_the_squared_difference() -> None:
    a, point = moments(rows(100, 4)), torch.ones(4, dtype=torch.float64)
    zero = torch.zeros(4, 4, dtype=torch.float64)
    expected = float(a.cov.trace() + (a.mean - 1).square().sum())
    assert float(frechet_distance(*a, point, zero)) == pytest.approx(expected, rel=1e-9)


def test_mismatched_shapes_and_infinite_values_are_refused() -> None:
    eye = torch.eye(3)
    with pytest.raises(ValueError, match=r"expected means \[D\] and covariances \[D, D\], got .*\[4, 4\]"):
        frechet_distance(torch.zeros(3), eye, torch.zeros(3), torch.eye(4))
    with pytest.raises(ValueError, match="expected finite means and covariances"):
        frechet_distance(torch.zeros(3), eye, torch.full((3,), torch.nan), eye)


def test_metric_updated_in_parts_equals_the_function() -> None:
    real, generated = rows(90, 8), rows(70, 8, seed=2, shift=100.0)
    metric = FrechetDistance()
    metric.set_real(real[:, None])
    for part in generated.split(13):
        metric.update(part[:, None])
    expected = float(frechet_distance(*moments(generated), *moments(real)))
    assert float(metric.compute()["fad"]) == pytest.approx(expected, rel=1e-9)


def test_metric_counts_rows_and_not_clips() -> None:
    real, generated = rows(90, 8), rows(60, 8, seed=2)
    metric = FrechetDistance()
    metric.set_real(real.unflatten(0, (30, 3)))
    metric.update(generated.unflatten(0, (20, 3)))
    expected = float(frechet_distance(*moments(generated), *moments(real)))
    assert float(metric.compute()["fad"]) == pytest.approx(expected, rel=1e-9)


def test_float32_rows_are_summed_in_float64() -> None:
    real, generated = rows(500, 4, shift=1000.0), rows(500, 4, seed=1, shift=1000.0)
    metric = FrechetDistance().float()  # what moving a model does to its metrics
    metric.set_real(real[:, None].float())
    metric.update(generated[:, None].float())
    assert float(metric.compute()["fad"]) == pytest.approx(by_scipy(generated.float(), real.float()), rel=1e-4)
    assert metric.outer.dtype == torch.float64


class Same(torch.nn.Module):
    """Takes rows for pictures."""

    num_features = 8

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)


def test_distance_equals_torchmetrics_for_one_row_per_clip() -> None:
    real, generated = rows(90, 8), rows(70, 8, seed=2)
    theirs = FrechetInceptionDistance(feature=Same(), input_img_size=(8, 1, 1)).set_dtype(torch.float64)
    theirs.update(real[:, :, None, None], real=True)
    theirs.update(generated[:, :, None, None], real=False)
    assert float(frechet_distance(*moments(generated), *moments(real))) == pytest.approx(
        float(theirs.compute()), rel=1e-6
    )


def test_extrapolation_removes_most_of_the_bias_of_few_rows() -> None:
    mean, cov = torch.zeros(32, dtype=torch.float64), torch.eye(32, dtype=torch.float64)
    found = []
    for seed in range(5):
        generated = torch.randn(400, 1, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        biased = float(frechet_distance(*moments(generated[:, 0]), mean, cov))
        found.append((biased, float(frechet_infinity(generated, mean, cov))))
    biased, extrapolated = np.abs(np.array(found).mean(axis=0))
    assert biased > 0.5
    assert extrapolated < biased / 5


def test_extrapolation_does_not_depend_on_the_order() -> None:
    real, generated = rows(90, 8)[:, None], rows(200, 8, seed=2)[:, None]
    found = []
    for order in (torch.arange(200), torch.arange(199, -1, -1)):
        metric = FrechetInfinity()
        metric.set_real(real)
        metric.update(generated[order])
        found.append(float(metric.compute()["fad_infinity"]))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
