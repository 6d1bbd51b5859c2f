"""The networks of style transfer match PyTorch's own layers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.networks.style_cnn import StyleCNN, WideConv2d

SHAPE = (2, 7, 40)


def spec(frames: int = 40) -> Tensor:
    return torch.rand(3, 2, 7, frames, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network(**arguments: Any) -> StyleCNN:
    return StyleCNN(SHAPE, **({"width": 16, "kernel": 5, "num_stacks": 2} | arguments)).eval().requires_grad_(False)


def by_torch(net: StyleCNN, x: Tensor) -> Tensor:
    """Return the output of the last layer of a network along frames, float [B, N, P]."""
    for conv, norm in zip(net.convs, net.norms, strict=True):
        x = F.conv1d(x, conv.weight[:, :, 0], conv.bias, padding=2)
        x = F.batch_norm(x, norm.running_mean, norm.running_var)
        x = F.max_pool1d(F.relu(x), 2)
    return x


def test_layers_match_torch() -> None:
    net = network()
    found = net.features(spec(), net.layers)
    expected = by_torch(net, (spec().flatten(1, 2) + 1) / 2)
    torch.testing.assert_close(found["pool_2"], expected)
    assert net.layers == ["input", *(f"{kind}_{k}" for k in (1, 2) for kind in ("conv", "norm", "relu", "pool"))]
    assert {name: tuple(part.shape[1:]) for name, part in found.items() if name in ("input", "relu_1", "relu_2")} == {
        "input": (14, 40),
        "relu_1": (16, 40),
        "relu_2": (16, 20),
    }


@pytest.mark.parametrize("same_padding", [True, False])
def test_matrix_product_has_the_output_and_gradient_of_a_convolution(same_padding: bool) -> None:
    conv = network(num_stacks=1, same_padding=same_padding).convs[0]
    x = torch.randn(2, 14, 1, 12).requires_grad_()
    outputs = [conv(x), F.conv2d(x, conv.weight, conv.bias, padding=conv.padding)]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad(output.square().sum(), x)[0] for output in outputs]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_trainable_weights_have_gradients() -> None:
    net = StyleCNN(SHAPE, num_classes=3, width=8, kernel=3, num_stacks=1)
    net(spec()).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_bf16_weights_give_nearly_the_same() -> None:
    exact, rough = network(), network()
    for conv in rough.convs:
        conv.to(torch.bfloat16)
    one, other = (net.features(spec(), ["relu_2"])["relu_2"] for net in (exact, rough))
    assert other.dtype == torch.float32
    assert (one - other).norm() < 0.02 * one.norm()


def test_time_as_channels_convolves_along_frequency() -> None:
    net = network(orientation="time", num_stacks=1, pool="none", kernel=3)
    found = net.features(spec(), ["relu_1"])["relu_1"]
    assert found.shape == (3, 16, 7)
    x = (spec().movedim(3, 2).flatten(1, 2) + 1) / 2  # [B, C L, F]
    expected = F.relu(F.conv1d(x, net.convs[0].weight[:, :, 0], net.convs[0].bias, padding=1) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="expected 40 frames, got 41"):
        net.features(spec(41), ["relu_1"])


def test_two_dimensional_network_keeps_both_axes_apart() -> None:
    net = network(orientation="2d", num_stacks=1, kernel=3)
    assert net.features(spec(), ["relu_1", "pool_1"])["pool_1"].shape == (3, 16, 3 * 20)


@pytest.mark.parametrize(("pool", "size"), [("none", 40), ("max", 20), ("average", 20)])
def test_pooling_halves_positions(pool: Any, size: int) -> None:
    net = network(pool=pool, num_stacks=1, activation="tanh")
    found = net.features(spec(), [net.layers[-1]])[net.layers[-1]]
    assert found.shape[2] == size
    assert found.abs().max() <= 1


def test_field_of_view_is_the_input_that_one_output_depends_on() -> None:
    net = network(num_stacks=2, kernel=3)
    least = net.min_length("relu_2")
    x = torch.zeros(1, 2, 7, 60).requires_grad_()
    found = net.features(x + torch.rand(1, 2, 7, 60), ["conv_2"])["conv_2"]
    (gradient,) = torch.autograd.grad(found[0, :, 15].sum(), x)
    touched = torch.nonzero(gradient.abs().sum(dim=(0, 1, 2)))
    assert least == net.min_length("conv_2") == int(touched.max() - touched.min()) + 1 == 8


def test_sounds_shorter_than_the_field_of_view_are_refused() -> None:
    with pytest.raises(ValueError, match="relu_2 needs at least 14 frames, got 13"):
        network().features(spec(13), ["relu_2"])


def test_weights_depend_only_on_the_seed() -> None:
    weights = [network(seed=seed).convs[1].weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_default_weights_have_torchs_distribution() -> None:
    ours = network(width=400, kernel=11).convs[1]
    theirs = torch.nn.Conv1d(400, 400, 11)
    assert isinstance(ours, WideConv2d)
    assert ours.weight.std().item() == pytest.approx(theirs.weight.std().item(), rel=0.01)
    assert ours.weight.abs().max().item() == pytest.approx(theirs.weight.abs().max().item(), rel=0.01)


def test_normal_weights_have_the_given_deviation_and_no_bias() -> None:
    conv = network(width=400, init=0.3).convs[1]
    assert conv.bias is None
    assert conv.weight.std().item() == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 4}, "odd, got 4: take 5"),
        ({"width": 0}, "width, kernel and num_stacks of at least 1"),
        ({"orientation": "sideways"}, "orientation must be one of frequency, time, 2d, got 'sideways'"),
        ({"pool": "min"}, "pool must be one of none, max, average"),
        ({"activation": "gelu"}, "activation must be one of relu, tanh"),
    ],
)
def test_impossible_networks_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_unknown_layer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="layer must be one of input, conv_1, norm_1, relu_1, pool_1"):
        network().features(spec(), ["relu_9"])
