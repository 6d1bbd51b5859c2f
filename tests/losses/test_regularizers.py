"""Gradient penalties match closed forms, and their second derivatives match finite differences."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.losses.regularizers import mode_seeking, path_length_penalty, path_lengths, r1_penalty

B, C, F, L = 3, 2, 4, 5
NUM_WS, W_DIM = 6, 7


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def clips() -> Tensor:
    return random(B, C, F, L).requires_grad_()


def test_r1_of_a_linear_critic_is_its_squared_norm() -> None:
    real, weight = clips(), random(C, F, L, seed=1)
    logits = (real * weight).sum(dim=(1, 2, 3)) + 3.0
    torch.testing.assert_close(r1_penalty(logits, real), weight.square().sum())


def test_r1_is_zero_for_a_constant_critic() -> None:
    real = clips()
    assert r1_penalty(0 * real.sum(dim=(1, 2, 3)) + 5.0, real) == 0


def test_r1_is_the_mean_over_clips() -> None:
    real = clips()
    logits = real.square().sum(dim=(1, 2, 3)) / 2  # the gradient of half a squared norm is the clip itself
    torch.testing.assert_close(r1_penalty(logits, real), real.square().sum() / B)


def test_r1_gradient_of_a_linear_critic_is_twice_its_weight() -> None:
    real, weight = clips(), random(C, F, L, seed=1).requires_grad_()
    penalty = r1_penalty((real * weight).sum(dim=(1, 2, 3)), real)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * weight)


def test_r1_gradient_matches_finite_differences() -> None:
    real = clips()[:, :1, :2, :3].detach().requires_grad_()

    def penalty(weight: Tensor) -> Tensor:
        hidden = torch.tanh(real.flatten(1) @ weight)
        return r1_penalty(hidden.square().sum(dim=1), real)

    assert torch.autograd.gradcheck(penalty, 0.3 * random(6, 3, seed=1).requires_grad_())


def linear_generator(ws: Tensor, matrix: Tensor) -> Tensor:
    """Turn ws [B, N, D] into spec [B, C, F, L] with a matrix [C, F, L, N, D]."""
    return torch.einsum("cflnd,bnd->bcfl", matrix, ws)


def test_path_lengths_of_a_linear_generator_have_a_closed_form() -> None:
    ws, matrix, noise = random(B, NUM_WS, W_DIM).requires_grad_(), random(C, F, L, NUM_WS, W_DIM), random(B, C, F, L)
    lengths = path_lengths(linear_generator(ws, matrix), ws, noise)
    jacobian = matrix.reshape(C * F * L, NUM_WS * W_DIM)
    expected = (noise.reshape(B, -1) @ jacobian).norm(dim=1) / math.sqrt(F * L) / math.sqrt(NUM_WS)
    assert lengths.shape == (B,)
    torch.testing.assert_close(lengths, expected)


def test_path_length_of_an_orthogonal_generator_does_not_depend_on_the_size() -> None:
    for size in (8, 32):
        ws = torch.zeros(1, 1, size * size, dtype=torch.float64, requires_grad=True)
        spec = 3 * ws.reshape(1, 1, size, size)
        noise = torch.full_like(spec, 1.0)  # has the mean norm of standard normal noise
        torch.testing.assert_close(path_lengths(spec, ws, noise), torch.tensor([3.0], dtype=torch.float64))


def test_path_length_is_zero_if_styles_change_nothing() -> None:
    ws = random(B, NUM_WS, W_DIM).requires_grad_()
    spec = random(B, C, F, L) + 0 * ws.sum()
    assert path_lengths(spec, ws, random(B, C, F, L)).tolist() == [0] * B


def test_path_length_of_a_clip_does_not_depend_on_its_batch() -> None:
    ws, matrix, noise = random(B, NUM_WS, W_DIM).requires_grad_(), random(C, F, L, NUM_WS, W_DIM), random(B, C, F, L)
    together = path_lengths(linear_generator(ws, matrix).tanh(), ws, noise)
    for i in range(B):
        alone = ws[i : i + 1].detach().requires_grad_()
        torch.testing.assert_close(
            path_lengths(linear_generator(alone, matrix).tanh(), alone, noise[i : i + 1]), together[i : i + 1]
        )


def test_path_length_gradient_matches_finite_differences() -> None:
    ws, noise = random(B, 2, 3).requires_grad_(), random(B, 1, 2, 2)

    def penalty(matrix: Tensor) -> Tensor:
        lengths = path_lengths(linear_generator(ws, matrix).tanh(), ws, noise)
        return path_length_penalty(lengths, torch.tensor(0.5, dtype=torch.float64))

    assert torch.autograd.gradcheck(penalty, 0.3 * random(1, 2, 2, 2, 3, seed=1).requires_grad_())


def test_path_length_penalty_is_zero_only_at_the_mean() -> None:
    assert path_length_penalty(torch.full((4,), 2.0), torch.tensor(2.0)) == 0
    assert path_length_penalty(torch.tensor([1.0, 2.0, 6.0]), torch.tensor(2.0)) == pytest.approx((1 + 0 + 16) / 3)


def test_mode_seeking_is_the_mean_ratio_of_distances_over_pairs() -> None:
    spec = torch.randn(6, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    ratios = [float((z[i] - z[i + 1]).abs().mean() / (spec[i] - spec[i + 1]).abs().mean()) for i in (0, 2, 4)]
    assert float(mode_seeking(spec, z)) == pytest.approx(sum(ratios) / 3, rel=0.01)


def test_mode_seeking_is_finite_for_identical_clips_and_separates_different_ones() -> None:
    z = torch.tensor([[0.0], [1.0]])
    assert float(mode_seeking(torch.zeros(2, 1, 2, 2), z)) == pytest.approx(1000)
    spec = torch.tensor([0.0, 0.1]).reshape(2, 1, 1, 1).requires_grad_()
    mode_seeking(spec, z).backward()
    assert spec.grad is not None
    assert spec.grad[0] > 0 > spec.grad[1]
