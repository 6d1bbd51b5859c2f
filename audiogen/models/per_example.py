"""Optimise many vectors at once, each with its own optimiser, so that all of them share each evaluation.

The caller evaluates a batch and passes each optimiser its value and gradient. An optimiser's steps and history do not
depend on the other vectors; `torch.optim.LBFGS` would treat the batch as one vector.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

GROWTH = 4.0  # factor per step along the gradient while the function is concave and gives no usable curvature
ARMIJO = 1e-4  # sufficient fraction of the expected decrease (Nocedal & Wright, 2006, section 3.1)
CURVATURE = 1e-8  # least useful cosine between a step and the change of the gradient
MAX_HALVINGS = 20


class PerExampleOptimizer(ABC):
    """An optimiser of one vector.

    Attributes:
        point: Where to evaluate the function next, float32 [D].
        best: Last accepted point, float32 [D].
        done: Whether no further improvement is possible.
    """

    point: Tensor
    best: Tensor
    done: bool = False

    @abstractmethod
    def step(self, value: float, gradient: Tensor) -> None:
        """Process an evaluation and choose the next point.

        Args:
            value: Value at `point`.
            gradient: Gradient at `point`, float32 [D].
        """

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as plain values and tensors."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        vars(self).update(state)


class PerExampleAdam(PerExampleOptimizer):
    """Adam (Kingma & Ba, 2015).

    Args:
        start: Initial point, float32 [D].
        learning_rate: Approximate size of a step in each entry.
    """

    def __init__(self, start: Tensor, learning_rate: float) -> None:
        self.point = self.best = start
        self.learning_rate, self.num_steps = learning_rate, 0
        self.mean, self.square = torch.zeros_like(start), torch.zeros_like(start)

    def step(self, value: float, gradient: Tensor) -> None:
        """Take a step; see `PerExampleOptimizer`."""
        self.best = self.point
        self.num_steps += 1
        self.mean = torch.lerp(gradient, self.mean, 0.9)
        self.square = torch.lerp(gradient.square(), self.square, 0.999)
        deviation = (self.square / (1 - 0.999**self.num_steps)).sqrt_().add_(1e-8)
        self.point = self.point - self.learning_rate / (1 - 0.9**self.num_steps) * self.mean / deviation


class PerExampleLBFGS(PerExampleOptimizer):
    """Limited-memory BFGS (Liu & Nocedal, 1989).

    Without a line search, the steps equal those of `torch.optim.LBFGS` with its defaults, as in Huzaifah & Wyse (2020),
    except for its absolute thresholds, which keep it from starting at values below about 1e-5. Here, scaling the
    function changes nothing. With a line search, a step that does not decrease the value enough is shortened, so the
    values of accepted points only decrease and `best` is the best point.

    Args:
        start: Initial point, float32 [D].
        history: Number of steps to store for the curvature, 2 D numbers each.
        line_search: Whether to shorten steps.
    """

    def __init__(self, start: Tensor, history: int = 100, line_search: bool = True) -> None:
        self.point = self.best = start
        self.history, self.line_search = history, line_search
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.products: list[float] = []  # inner product of each step and change
        self.value: float | None = None
        self.gradient = self.direction = torch.zeros_like(start)
        self.slope = 0.0  # derivative along the direction
        self.length, self.num_halvings = 0.0, 0

    def step(self, value: float, gradient: Tensor) -> None:
        """Accept the point or shorten the last step; see `PerExampleOptimizer`."""
        if self.value is not None:
            if self.line_search and not value <= self.value + ARMIJO * self.length * self.slope:  # NaN too
                self._shorten(value)
                return
            self._add_to_history(self.length * self.direction, gradient - self.gradient)
        self.best, self.value, self.gradient, self.num_halvings = self.point, value, gradient, 0
        self._choose_point()

    def _choose_point(self) -> None:
        """Choose the next direction and point."""
        self.direction = self._direction()
        self.slope = float(self.direction @ self.gradient)
        if self.slope >= 0 and self.steps:  # only by rounding
            self._restart()
            return
        self.done = self.slope == 0
        if self.steps:
            self.length = 1.0
        elif not self.done:  # the scale is unknown
            self.length = GROWTH * self.length if self.length else 1 / float(self.gradient.abs().sum())
        self.point = self.best + self.length * self.direction

    def _shorten(self, value: float) -> None:
        """Shorten a step to the minimum of a parabola, within 0.1 and 0.5 of its length."""
        assert self.value is not None
        self.num_halvings += 1
        if self.num_halvings > MAX_HALVINGS:
            if not self.steps:
                self.done, self.point = True, self.best  # no decrease even along the gradient
                return
            self._restart()
            return
        rise = value - self.value - self.length * self.slope
        fraction = -self.slope * self.length / (2 * rise) if 0 < rise < float("inf") else 0.1
        self.length *= min(max(fraction, 0.1), 0.5)
        self.point = self.best + self.length * self.direction

    def _restart(self) -> None:
        """Discard the history and continue along the gradient."""
        self.steps, self.changes, self.products, self.num_halvings, self.length = [], [], [], 0, 0.0
        self._choose_point()

    def _add_to_history(self, step: Tensor, change: Tensor) -> None:
        product = float(step @ change)
        if product > CURVATURE * float(step.norm()) * float(change.norm()):
            self.steps = [*self.steps, step][-self.history :]
            self.changes = [*self.changes, change][-self.history :]
            self.products = [*self.products, product][-self.history :]

    def _direction(self) -> Tensor:
        """Return minus the approximate inverse Hessian times the gradient, by the two-loop recursion."""
        direction = -self.gradient
        if not self.steps:
            return direction
        pairs = list(zip(self.steps, self.changes, self.products, strict=True))
        coefficients = []
        for step, change, product in reversed(pairs):
            coefficient = float(step @ direction) / product
            coefficients.append(coefficient)
            direction.add_(change, alpha=-coefficient)
        _, last, product = pairs[-1]
        direction.mul_(product / float(last @ last))
        for (step, change, product), coefficient in zip(pairs, reversed(coefficients), strict=True):
            direction.add_(step, alpha=coefficient - float(change @ direction) / product)
        return direction
