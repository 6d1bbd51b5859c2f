"""Style losses match direct computations in double precision."""

import pytest
import torch
from torch import Tensor

from audiogen.losses.style import StyleTarget, content_distance, excess, gram_matrix


def features(num: int, positions: int, seed: int = 0) -> Tensor:
    """Return rectified features like those of a network, float32 [2, N, P]."""
    return torch.randn(2, num, positions, generator=torch.Generator().manual_seed(seed)).relu()


def direct(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean squared difference of Gram matrices in double precision, [B]."""
    grams = []
    for part in (one.double(), other.double()):
        gram = torch.zeros(part.shape[0], part.shape[1], part.shape[1], dtype=torch.float64)
        for position in range(part.shape[2]):
            gram += part[:, :, position, None] * part[:, None, :, position]
        grams.append(gram / part.shape[2])
    return (grams[0] - grams[1]).square().mean(dim=(1, 2))


def test_gram_matrix_is_the_mean_of_products_over_positions() -> None:
    some = features(5, 7)
    expected = torch.einsum("bip,bjp->bij", some.double(), some.double()) / 7
    torch.testing.assert_close(gram_matrix(some).double(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("num", "positions", "others"), [(64, 10, 12), (8, 40, 30)], ids=["few positions", "many positions"]
)
def test_distance_and_its_gradient_equal_a_direct_computation(num: int, positions: int, others: int) -> None:
    some, wanted = features(num, positions).requires_grad_(), features(num, others, seed=1)
    distance = StyleTarget([[part] for part in wanted]).distance(some)
    expected = direct(some, wanted)
    torch.testing.assert_close(distance, expected, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(value.sum(), some)[0] for value in (distance, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("num", [64, 8])
def test_distance_ignores_the_order_of_positions(num: int) -> None:
    some = features(num, 20)
    target = StyleTarget([[part] for part in some])
    shuffled = some[:, :, torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    assert (target.distance(shuffled).abs() < 1e-6 * target.power).all()


def test_target_of_several_references_is_the_weighted_mean_of_their_gram_matrices() -> None:
    references = [features(6, 9)[:1], features(6, 30, seed=1)[:1], features(6, 4, seed=2)[:1]]
    target = StyleTarget([[part[0] for part in references]], [2.0, 1.0, 1.0])
    expected = sum(weight * gram_matrix(part) for weight, part in zip((0.5, 0.25, 0.25), references, strict=True))
    torch.testing.assert_close(target.gram, expected)


def test_reference_without_weight_does_not_count() -> None:
    one, other = features(6, 9)[0], features(6, 9, seed=1)[0]
    torch.testing.assert_close(StyleTarget([[one, other]], [1.0, 0.0]).gram, StyleTarget([[one]]).gram)


def test_references_in_a_batch_may_differ_in_length() -> None:
    short, long = features(16, 3)[0], features(16, 9)[0]
    both = StyleTarget([[short], [long]])
    some = features(16, 5, seed=3)
    alone = [StyleTarget([[part]]).distance(some[index, None]) for index, part in enumerate((short, long))]
    torch.testing.assert_close(both.distance(some), torch.cat(alone), rtol=1e-6, atol=0)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_invalid_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="a weight of at least 0 for each of 2 references"):
        StyleTarget([[features(4, 5)[0], features(4, 5)[0]]], weights)


def test_content_distance_is_the_mean_square() -> None:
    one, other = features(4, 5), features(4, 5, seed=1)
    expected = (one.double() - other.double()).square().mean(dim=(1, 2))
    torch.testing.assert_close(content_distance(one, other), expected)


def test_excess_is_the_norm_outside_the_range_without_gradient_inside() -> None:
    spec = torch.tensor([[-3.0, 0.5, 1.0], [0.0, 0.2, 5.0]]).view(2, 1, 1, 3)
    torch.testing.assert_close(excess(spec), torch.tensor([3.0, 4.0], dtype=torch.float64))
    inside = torch.rand(1, 1, 4, 4).requires_grad_()
    excess(inside).sum().backward()
    assert inside.grad is not None
    assert (inside.grad == 0).all()
