"""Vendi score, effective rank and diversity ratios, for rows with known results."""

import math

import pytest
import torch

from audiogen.metrics.diversity import Diversity, Spread, Vendi, effective_rank, vendi_score
from audiogen.metrics.metric import MAX_REAL


def test_vendi_score_counts_orthogonal_rows() -> None:
    assert float(vendi_score(torch.eye(7))) == pytest.approx(7)
    assert float(vendi_score(torch.eye(7).repeat(5, 1))) == pytest.approx(7)
    assert float(vendi_score(torch.ones(10, 3))) == pytest.approx(1)


def test_vendi_score_equals_the_one_of_the_similarity_matrix() -> None:
    rows = torch.randn(12, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for some in (rows, rows.T):
        unit = some / some.norm(dim=1, keepdim=True)
        values = torch.linalg.eigvalsh(unit @ unit.T / len(some)).clamp_min(1e-30)
        assert float(vendi_score(some)) == pytest.approx(math.exp(-float((values * values.log()).sum())))


def test_effective_rank_of_equal_and_unequal_variances() -> None:
    assert float(effective_rank(torch.eye(5))) == pytest.approx(5)
    assert float(effective_rank(torch.diag(torch.tensor([1.0, 0.0, 0.0])))) == pytest.approx(1)
    assert float(effective_rank(torch.zeros(3, 3))) == 0
    fractions = [0.9, 0.1]
    assert float(effective_rank(torch.diag(torch.tensor([9.0, 1.0])))) == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in fractions))
    )


def test_real_clips_score_one_and_shrunk_clips_less() -> None:
    real = torch.randn(50, 1, 6, generator=torch.Generator().manual_seed(0))
    for metric, at_half in ((Diversity(), {"diversity": 0.5}), (Spread(), {"variance_ratio": 0.25, "rank_ratio": 1.0})):
        metric.set_real(real)
        for scale, expected in ((1.0, dict.fromkeys(at_half, 1.0)), (0.5, at_half)):
            metric.update(real * scale)
            assert {name: float(x) for name, x in metric.compute().items()} == pytest.approx(expected)
            metric.reset()


def test_identical_clips_have_no_diversity() -> None:
    real = torch.randn(50, 1, 6, generator=torch.Generator().manual_seed(0))
    same = real[:1].expand(50, 1, 6)
    for metric, expected in (
        (Diversity(), {"diversity": 0.0}),
        (Spread(), {"variance_ratio": 0.0, "rank_ratio": 0.0}),
        (Vendi(), {"vendi": 1.0}),
    ):
        metric.set_real(real)
        metric.update(same)
        assert {name: float(x) for name, x in metric.compute().items()} == pytest.approx(expected, abs=1e-6)


def test_number_of_real_clips_is_limited() -> None:
    metric = Diversity()
    metric.set_real(torch.randn(MAX_REAL + 1000, 1, 2, generator=torch.Generator().manual_seed(0)))
    assert metric.real.shape == (MAX_REAL, 2)
    metric.update(torch.randn(500, 1, 2, generator=torch.Generator().manual_seed(1)))
    assert float(metric.compute()["diversity"]) == pytest.approx(1, abs=0.05)
