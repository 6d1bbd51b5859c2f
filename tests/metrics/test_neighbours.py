"""Precision, recall, density and coverage against loops, and for rows with known results."""

import pytest
import torch
from torch import Tensor

from audiogen.metrics.neighbours import Neighbours, precision_recall_density_coverage


def by_loops(real: Tensor, generated: Tensor, k: int) -> dict[str, float]:
    def radius(rows: Tensor) -> list[float]:
        return [sorted(float((x - y).norm()) for y in rows)[k] for x in rows]

    of_real, of_generated = radius(real), radius(generated)
    inside = [[float((x - y).norm()) < r for y in generated] for x, r in zip(real, of_real, strict=True)]
    reached = [any(float((x - y).norm()) < r for y, r in zip(generated, of_generated, strict=True)) for x in real]
    return {
        "precision": sum(any(column) for column in zip(*inside, strict=True)) / len(generated),
        "recall": sum(reached) / len(real),
        "density": sum(map(sum, inside)) / len(generated) / k,
        "coverage": sum(map(any, inside)) / len(real),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_metrics_equal_a_direct_computation(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    generated = torch.randn(20, 4, generator=generator, dtype=torch.float64) * 0.7
    found = precision_recall_density_coverage(real, generated, k)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(by_loops(real, generated, k))


def test_clips_from_one_of_two_clusters_have_precision_one_and_half_the_coverage() -> None:
    cluster = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    real = torch.cat([cluster, cluster + 100])
    found = precision_recall_density_coverage(real, cluster + 1e-6)
    assert float(found["precision"]) == 1
    assert float(found["coverage"]) == 0.5
    assert float(found["recall"]) == 0.5


def test_distant_clips_score_zero() -> None:
    real = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert all(float(x) == 0 for x in precision_recall_density_coverage(real, real + 100).values())


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="more than k = 5 rows in each set, got 20 and 5"):
        precision_recall_density_coverage(torch.zeros(20, 3), torch.zeros(5, 3))


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        Neighbours(k=0)
