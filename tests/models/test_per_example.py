"""Per-example optimisers equal PyTorch's, and their values decrease."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audiogen.models.per_example import PerExampleAdam, PerExampleLBFGS, PerExampleOptimizer

SIZE = 30


def valley(point: Tensor) -> Tensor:
    """Return a function with a long narrow valley and ripples."""
    scales = torch.logspace(-2, 1, SIZE, dtype=point.dtype)
    return (scales * point.square()).sum() + torch.cos(3 * point).sum()


def start() -> Tensor:
    return torch.randn(SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def minimise(optimizer: PerExampleOptimizer, num: int, function: Callable[[Tensor], Tensor] = valley) -> list[float]:
    """Evaluate `num` times and return the values."""
    values = []
    for _ in range(num):
        point = optimizer.point.clone().requires_grad_()
        value = function(point)
        (gradient,) = torch.autograd.grad(value, point)
        values.append(value.item())
        optimizer.step(values[-1], gradient)
    return values


def torch_values(make: Callable[[Tensor], torch.optim.Optimizer], num: int) -> list[float]:
    point = start().requires_grad_()
    optimizer, values = make(point), []

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        value = valley(point)
        value.backward()
        values.append(value.item())
        return value

    while len(values) < num:
        optimizer.step(evaluate)
    return values[:num]


def test_lbfgs_without_a_line_search_equals_torch() -> None:
    expected = torch_values(lambda point: torch.optim.LBFGS([point]), 20)
    assert minimise(PerExampleLBFGS(start(), line_search=False), 20) == pytest.approx(expected, rel=1e-9)


def test_adam_equals_torch() -> None:
    expected = torch_values(lambda point: torch.optim.Adam([point], lr=0.05), 20)
    assert minimise(PerExampleAdam(start(), 0.05), 20) == pytest.approx(expected, rel=1e-9)


def test_values_at_the_best_point_never_rise_with_a_line_search() -> None:
    optimizer = PerExampleLBFGS(start(), line_search=True)
    values = []
    for _ in range(60):
        minimise(optimizer, 1)
        values.append(valley(optimizer.best).item())
    assert all(after <= before for before, after in itertools.pairwise(values))
    assert values[-1] < values[0] - 10


def test_line_search_recovers_from_points_that_are_not_finite() -> None:
    def edge(point: Tensor) -> Tensor:
        return valley(point) + torch.log(point + 4).sum()  # NaN below -4

    optimizer = PerExampleLBFGS(start() * 0.1, line_search=True)
    values = minimise(optimizer, 60, edge)
    assert edge(optimizer.best).item() == pytest.approx(min(value for value in values if value == value))


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_steps_do_not_depend_on_the_scale_of_the_values(factor: float) -> None:
    ours = minimise(PerExampleLBFGS(start()), 15)
    scaled = minimise(PerExampleLBFGS(start()), 15, lambda point: factor * valley(point))
    assert [value / factor for value in scaled] == pytest.approx(ours, rel=1e-4)


def test_steps_grow_where_the_function_is_concave() -> None:
    """The style loss is concave near silence; steps of constant size would take thousands of evaluations."""
    optimizer = PerExampleLBFGS(torch.full((SIZE,), 1e-3, dtype=torch.float64))
    values = minimise(optimizer, 40, lambda point: (point.square() - 1).square().sum())
    assert values[-1] < 1e-6 * values[0]


def test_optimiser_is_done_if_the_gradient_is_zero() -> None:
    optimizer = PerExampleLBFGS(torch.ones(3))
    optimizer.step(1.0, torch.zeros(3))
    assert optimizer.done


@pytest.mark.parametrize("make", [lambda x: PerExampleLBFGS(x, history=3), lambda x: PerExampleAdam(x, 0.1)])
def test_resumed_state_continues_exactly(make: Callable[[Tensor], PerExampleOptimizer]) -> None:
    one = make(start())
    minimise(one, 7)
    other = make(torch.zeros(SIZE, dtype=torch.float64))
    other.load_state_dict(one.state_dict())
    assert minimise(one, 7) == minimise(other, 7)
    assert torch.equal(one.point, other.point)
