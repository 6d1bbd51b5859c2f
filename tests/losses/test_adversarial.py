"""The logistic loss equals binary cross-entropy; the hinge loss is linear up to its margin."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.losses.adversarial import hinge_fake, hinge_real, logistic_fake, logistic_real

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


def test_gradient_is_the_probability_of_the_wrong_answer() -> None:
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logistic_fake(logits), logits)
    torch.testing.assert_close(gradient, torch.sigmoid(LOGITS) / len(LOGITS))
    (gradient,) = torch.autograd.grad(logistic_real(logits), logits)
    torch.testing.assert_close(gradient, -torch.sigmoid(-LOGITS) / len(LOGITS))


def test_generator_gradient_is_largest_where_the_critic_is_surest() -> None:
    logits = torch.tensor([-20.0, 20.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(logistic_real(logits), logits)
    torch.testing.assert_close(gradient, torch.tensor([-0.5, 0.0]))  # non-saturating: the full slope instead of 0


@pytest.mark.parametrize("loss", [logistic_real, logistic_fake])
def test_extreme_logits_stay_finite(loss: Callable[[Tensor], Tensor]) -> None:
    assert loss(torch.tensor([-1e4, 1e4])) == pytest.approx(5e3)


def test_hinge_is_linear_up_to_the_margin_and_zero_beyond() -> None:
    logits = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], requires_grad=True)
    torch.testing.assert_close(hinge_real(logits), torch.tensor((4 + 2 + 1 + 0 + 0) / 5))
    torch.testing.assert_close(hinge_fake(logits), torch.tensor((0 + 0 + 1 + 2 + 4) / 5))
    (gradient,) = torch.autograd.grad(hinge_real(logits), logits)
    assert gradient[[0, 2, 4]].tolist() == pytest.approx([-0.2, -0.2, 0])
