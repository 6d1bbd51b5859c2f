"""The logistic loss against binary cross-entropy."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.losses.adversarial import logistic_fake, logistic_real

LOGITS = torch.linspace(-8, 8, 33)


@pytest.mark.parametrize(("loss", "target"), [(logistic_real, 1.0), (logistic_fake, 0.0)])
def test_is_binary_cross_entropy(loss: Callable[[Tensor], Tensor], target: float) -> None:
    expected = F.binary_cross_entropy_with_logits(LOGITS, torch.full_like(LOGITS, target))
    torch.testing.assert_close(loss(LOGITS), expected)


@pytest.mark.parametrize("loss", [logistic_real, logistic_fake])
def test_is_a_scalar_mean_over_the_batch(loss: Callable[[Tensor], Tensor]) -> None:
    assert loss(LOGITS).shape == ()
    torch.testing.assert_close(loss(LOGITS.repeat(3)), loss(LOGITS))


def test_real_and_fake_mirror_each_other() -> None:
    torch.testing.assert_close(logistic_real(LOGITS), logistic_fake(-LOGITS))


def test_gradient_is_the_wrongly_given_probability() -> None:
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logistic_fake(logits), logits)
    torch.testing.assert_close(gradient, torch.sigmoid(LOGITS) / len(LOGITS))
    (gradient,) = torch.autograd.grad(logistic_real(logits), logits)
    torch.testing.assert_close(gradient, -torch.sigmoid(-LOGITS) / len(LOGITS))


def test_generator_is_pushed_hardest_where_the_critic_is_surest() -> None:
    logits = torch.tensor([-20.0, 20.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(logistic_real(logits), logits)
    torch.testing.assert_close(gradient, torch.tensor([-0.5, 0.0]))  # non-saturating: the full slope, not none


@pytest.mark.parametrize("loss", [logistic_real, logistic_fake])
def test_extreme_logits_stay_finite(loss: Callable[[Tensor], Tensor]) -> None:
    assert loss(torch.tensor([-1e4, 1e4])) == pytest.approx(5e3)
