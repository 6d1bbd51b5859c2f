"""The siamese losses match closed forms."""

import math

import pytest
import torch

from audiogen.losses.siamese import SHORT, siamese_margin, travel_angle, travel_distance


def random(seed: int, num: int = 6) -> torch.Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_distance_is_the_mean_over_all_values() -> None:
    before, after = random(0), random(1)
    expected = sum((b - a) ** 2 for b, a in zip(before.flatten().tolist(), after.flatten().tolist(), strict=True)) / 30
    assert float(travel_distance(before, after)) == pytest.approx(expected)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180])
def test_angle_is_minus_the_cosine_at_any_length(degrees: float) -> None:
    angle = math.radians(degrees)
    before = torch.tensor([[3.0, 0.0]])
    after = 0.7 * torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert float(travel_angle(before, after)) == pytest.approx(-math.cos(angle), abs=1e-6)


def test_both_losses_are_minimal_for_unchanged_vectors() -> None:
    before = random(0)
    assert float(travel_distance(before, before)) == 0
    assert float(travel_angle(before, before)) == pytest.approx(-1)


def test_margin_penalises_short_vectors() -> None:
    vectors = torch.tensor([[0.0, 0.0], [0.6, 0.8], [3.0, 4.0]])
    assert float(siamese_margin(vectors)) == pytest.approx((4 + 1 + 0) / 3)
    assert float(siamese_margin(vectors, margin=6)) == pytest.approx((36 + 25 + 1) / 3)


def test_margin_pushes_outwards() -> None:
    vectors = torch.tensor([[0.6, 0.8]], requires_grad=True)
    (gradient,) = torch.autograd.grad(siamese_margin(vectors), vectors)
    torch.testing.assert_close(gradient, -2 * torch.tensor([[0.6, 0.8]]))  # 2 (margin - length) * -direction


@pytest.mark.parametrize("loss", [travel_angle, lambda vectors, _: siamese_margin(vectors)])
def test_zero_vectors_have_bounded_gradients(loss: object) -> None:
    vectors = torch.zeros(2, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(vectors, torch.ones(2, 5)), vectors)  # type: ignore[operator]
    assert gradient.isfinite().all()
    assert float(gradient.norm()) <= 1 / SHORT
