"""Optimisers of one vector that are told values and gradients, so that many vectors share each evaluation.

A batch of sounds is evaluated at once, and each goes its own way: its steps and the history behind them do not depend
on the others. `torch.optim.LBFGS` would take the batch for one vector.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

GROWTH = 4.0  # of steps along the gradient while the function bends down, so that there is no curvature to go by
ARMIJO = 1e-4  # share of the expected decrease that is enough (Nocedal & Wright, 2006, section 3.1)
CURVATURE = 1e-8  # cosine between a step and the change of the gradient: pairs below tell nothing
MAX_HALVINGS = 20


class PerExampleOptimizer(ABC):
    """An optimiser of one vector.

    Attributes:
        point: Where the function is to be evaluated next, float32 [D].
        best: The last point that was good enough to go on from, float32 [D].
        done: Whether there is nothing left to gain.
    """

    point: Tensor
    best: Tensor
    done: bool = False

    @abstractmethod
    def step(self, value: float, gradient: Tensor) -> None:
        """Take the value and the gradient, float32 [D], at `point`, and move on."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as plain values and tensors."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        vars(self).update(state)


class PerExampleAdam(PerExampleOptimizer):
    """Adam (Kingma & Ba, 2015).

    Args:
        start: float32 [D].
        learning_rate: Size of a step in each entry.
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

    Without a line search, the steps are those of `torch.optim.LBFGS` with its defaults, as in Huzaifah & Wyse (2020),
    but for its absolute thresholds: below values of about 1e-5 it does not begin to move. Here, a factor on the values
    changes nothing. With a line search, a step that does not lower the value enough is shortened, so values only fall,
    and `best` is the best.

    Args:
        start: float32 [D].
        history: Steps whose change of gradient is kept, of 2 D numbers each.
        line_search: Whether to shorten steps.
    """

    def __init__(self, start: Tensor, history: int = 100, line_search: bool = True) -> None:
        self.point = self.best = start
        self.history, self.line_search = history, line_search
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.products: list[float] = []  # of each step with its change
        self.value: float | None = None
        self.gradient = self.direction = torch.zeros_like(start)
        self.slope = 0.0  # along the direction
        self.length, self.num_halvings = 0.0, 0

    def step(self, value: float, gradient: Tensor) -> None:
        """Accept the point or go back half of the way to the last one; see `PerExampleOptimizer`."""
        if self.value is not None:
            if self.line_search and not value <= self.value + ARMIJO * self.length * self.slope:  # NaN too
                self._halve(value)
                return
            self._remember(self.length * self.direction, gradient - self.gradient)
        self.best, self.value, self.gradient, self.num_halvings = self.point, value, gradient, 0
        self._aim()

    def _aim(self) -> None:
        """Choose the next direction and point."""
        self.direction = self._direction()
        self.slope = float(self.direction @ self.gradient)
        if self.slope >= 0 and self.steps:  # rounding
            self._forget()
            return
        self.done = self.slope == 0
        if self.steps:
            self.length = 1.0
        elif not self.done:  # nothing is known of the scale
            self.length = GROWTH * self.length if self.length else 1 / float(self.gradient.abs().sum())
        self.point = self.best + self.length * self.direction

    def _halve(self, value: float) -> None:
        """Shorten a step: to where a parabola has its least value, within 0.1 and 0.5 of the length."""
        assert self.value is not None
        self.num_halvings += 1
        if self.num_halvings > MAX_HALVINGS:
            if not self.steps:
                self.done, self.point = True, self.best  # not even along the gradient
                return
            self._forget()
            return
        rise = value - self.value - self.length * self.slope
        share = -self.slope * self.length / (2 * rise) if 0 < rise < float("inf") else 0.1
        self.length *= min(max(share, 0.1), 0.5)
        self.point = self.best + self.length * self.direction

    def _forget(self) -> None:
        """Start anew, along the gradient."""
        self.steps, self.changes, self.products, self.num_halvings, self.length = [], [], [], 0, 0.0
        self._aim()

    def _remember(self, step: Tensor, change: Tensor) -> None:
        product = float(step @ change)
        if product > CURVATURE * float(step.norm()) * float(change.norm()):
            self.steps = [*self.steps, step][-self.history :]
            self.changes = [*self.changes, change][-self.history :]
            self.products = [*self.products, product][-self.history :]

    def _direction(self) -> Tensor:
        """Return minus the gradient times the inverse Hessian as far as it is known, by two loops."""
        direction = -self.gradient
        if not self.steps:
            return direction
        pairs = list(zip(self.steps, self.changes, self.products, strict=True))
        shares = []
        for step, change, product in reversed(pairs):
            share = float(step @ direction) / product
            shares.append(share)
            direction.add_(change, alpha=-share)
        _, last, product = pairs[-1]
        direction.mul_(product / float(last @ last))
        for (step, change, product), share in zip(pairs, reversed(shares), strict=True):
            direction.add_(step, alpha=share - float(change @ direction) / product)
        return direction
