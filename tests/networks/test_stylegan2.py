"""The StyleGAN2 networks match a plain implementation of the papers."""

import pytest
import torch
from torch import Tensor

from audiogen.losses.regularizers import path_lengths, r1_penalty
from audiogen.networks.stylegan2 import Discriminator, Generator
from audiogen.networks.stylegan2.discriminator import append_minibatch_stddev
from audiogen.networks.stylegan2.resample import blur, downsample, upsample
from audiogen.networks.stylegan2.sizes import levels
from tests.networks import plain_stylegan2 as plain

SHAPES = [(1, 32, 32), (2, 64, 32), (1, 40, 64)]


def make(shape: tuple[int, int, int], num_classes: int = 3) -> tuple[Generator, Discriminator, Tensor, Tensor | None]:
    """Return small networks whose parameters all affect the output, latents, float [8, 16], and labels."""
    torch.manual_seed(0)
    generator = Generator(shape, num_classes, z_dim=16, w_dim=24, channel_base=512, channel_max=16).eval()
    discriminator = Discriminator(shape, num_classes, channel_base=512, channel_max=16, num_mapping_layers=2)
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                torch.nn.init.normal_(parameter.data, parameter.data.mean(), 0.3)
    label = torch.eye(num_classes)[torch.arange(8) % num_classes] if num_classes else None
    return generator, discriminator, torch.randn(8, 16), label


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


def gradients(output: Tensor, network: torch.nn.Module) -> list[Tensor]:
    parameters = list(network.parameters())
    found = torch.autograd.grad(output, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def same_gradients(a: list[Tensor], b: list[Tensor]) -> bool:
    scale = max(float(g.norm()) for g in b)
    return all(float((x - y).norm()) <= 1e-4 * max(float(y.norm()), 1e-3 * scale) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_classes", [3, 0])
def test_generator_equals_the_plain_one_in_outputs_and_gradients(shape: tuple[int, int, int], num_classes: int) -> None:
    generator, _, z, label = make(shape, num_classes)
    fast = generator(z, label, noise_mode="const")
    slow = plain.generate(generator, z, label)
    assert fast.shape == (8, *shape)
    assert relative(fast, slow) < 1e-4
    direction = torch.randn_like(fast)
    assert same_gradients(
        gradients((fast * direction).sum(), generator), gradients((slow * direction).sum(), generator)
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_classes", [3, 0])
def test_discriminator_equals_the_plain_one_in_outputs_and_gradients(
    shape: tuple[int, int, int], num_classes: int
) -> None:
    _, discriminator, _, label = make(shape, num_classes)
    spec = torch.randn(8, *shape)
    fast, slow = discriminator(spec, label), plain.discriminate(discriminator, spec, label)
    assert fast.shape == (8,)
    assert relative(fast, slow) < 1e-4
    assert same_gradients(
        gradients(fast.sigmoid().sum(), discriminator), gradients(slow.sigmoid().sum(), discriminator)
    )


def test_penalties_have_the_gradients_of_the_plain_networks() -> None:
    generator, discriminator, z, label = make((1, 32, 32))
    real = torch.randn(8, 1, 32, 32, requires_grad=True)
    fast = r1_penalty(discriminator(real, label), real)
    slow = r1_penalty(plain.discriminate(discriminator, real, label), real)
    assert relative(fast, slow) < 1e-4
    assert same_gradients(gradients(fast, discriminator), gradients(slow, discriminator))

    noise = torch.randn(8, 1, 32, 32)
    ws = generator.mapping(z, label)
    fast = path_lengths(generator.synthesis(ws, noise_mode="const"), ws, noise).square().sum()
    ws = generator.mapping(z, label)
    slow = path_lengths(plain.synthesis(generator, ws), ws, noise).square().sum()
    assert relative(fast, slow) < 1e-4
    assert same_gradients(gradients(fast, generator), gradients(slow, generator))


def test_parameters_have_the_names_and_shapes_of_the_reference() -> None:
    generator = Generator((1, 64, 64), 10, z_dim=64, w_dim=512, channel_base=16384, channel_max=512)
    shapes = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
    assert shapes["mapping.embed.weight"] == (512, 10)
    assert shapes["mapping.fc0.weight"] == (512, 64 + 512)
    assert shapes["mapping.w_avg"] == (512,)
    assert shapes["synthesis.b4.const"] == (512, 4, 4)
    assert shapes["synthesis.b64.conv0.weight"] == (256, 512, 3, 3)
    assert shapes["synthesis.b64.conv0.affine.weight"] == (512, 512)
    assert shapes["synthesis.b64.conv0.noise_const"] == (64, 64)
    assert shapes["synthesis.b64.conv0.noise_strength"] == ()
    assert shapes["synthesis.b64.torgb.weight"] == (1, 256, 1, 1)
    assert generator.synthesis.num_ws == 10  # 2 log2(64) - 2
    discriminator = Discriminator((1, 64, 64), 10, channel_base=16384, channel_max=512)
    shapes = {name: tuple(value.shape) for name, value in discriminator.state_dict().items()}
    assert shapes["b64.fromrgb.weight"] == (256, 1, 1, 1)
    assert shapes["b64.conv1.weight"] == (512, 256, 3, 3)
    assert shapes["b64.skip.weight"] == (512, 256, 1, 1)
    assert "b64.skip.bias" not in shapes
    assert shapes["b4.conv.weight"] == (512, 513, 3, 3)
    assert shapes["b4.fc.weight"] == (512, 512 * 16)
    assert shapes["b4.out.weight"] == (512, 512)
    assert shapes["mapping.fc7.weight"] == (512, 512)


def test_bf16_stays_close_to_float32() -> None:
    generator, discriminator, z, label = make((1, 32, 32))
    exact = generator(z, label, noise_mode="const")
    with torch.autocast("cpu", torch.bfloat16):
        rough = generator(z, label, noise_mode="const")
        logits = discriminator(exact, label)
    assert rough.dtype == logits.dtype == torch.float32
    assert 0 < relative(rough, exact) < 0.03
    assert 0 < relative(logits, discriminator(exact, label)) < 0.05


def test_filters_and_their_gradients_are_adjoint() -> None:
    torch.manual_seed(0)
    for function, size in (
        (lambda x: blur(x, 2, 3.0), 17),
        (lambda x: blur(x, 1), 15),
        (downsample, 8),
        (upsample, 32),
    ):
        x = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
        y = function(x)
        assert y.shape == (2, 3, size, size)
        assert torch.autograd.gradcheck(function, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, x, fast_mode=True)


def test_resampling_keeps_a_constant() -> None:
    x = torch.full((1, 1, 16, 16), 2.0)
    assert torch.allclose(upsample(x)[..., 2:-2, 2:-2], torch.tensor(2.0))
    assert torch.allclose(downsample(x)[..., 1:-1, 1:-1], torch.tensor(2.0))


def test_truncation_zero_gives_the_mean_style_to_every_latent() -> None:
    generator, _, z, label = make((1, 32, 32))
    generator.mapping.w_avg.normal_()
    ws = generator.mapping(z, label, truncation=0.0)
    assert torch.allclose(ws, generator.mapping.w_avg.expand_as(ws))
    assert torch.equal(generator.mapping(z, label, truncation=1.0), generator.mapping(z, label))


def test_mean_style_moves_in_training_only() -> None:
    generator, _, z, label = make((1, 32, 32))
    generator.mapping(z, label)
    assert not generator.mapping.w_avg.any()
    w = generator.train().mapping(z, label)
    assert torch.allclose(generator.mapping.w_avg, 0.002 * w[:, 0].mean(dim=0), rtol=1e-4)


def test_minibatch_stddev_is_zero_for_equal_clips_and_the_deviation_otherwise() -> None:
    x = torch.randn(1, 5, 4, 4).repeat(8, 1, 1, 1)
    assert append_minibatch_stddev(x, 4)[:, -1].abs().max() < 2e-4
    pair = torch.stack([torch.zeros(5, 4, 4), torch.full((5, 4, 4), 2.0)])
    assert torch.allclose(append_minibatch_stddev(pair, 4)[:, -1], torch.ones(2, 4, 4))
    thirds = torch.tensor([0.0, 2.0, 4.0, 1.0, 3.0, 5.0]).view(6, 1, 1, 1)  # 4 does not divide 6: two groups of 3
    assert torch.allclose(append_minibatch_stddev(thirds, 4)[:, -1], torch.tensor(8 / 3).sqrt())


def test_levels_start_small_and_end_at_the_spectrogram() -> None:
    names = [level.name for level in levels((1, 80, 64), 4096, 128)]
    assert names == ["b5x4", "b10x8", "b20x16", "b40x32", "b80x64"]
    for shape in ((1, 65, 64), (1, 512, 16), (1, 4, 4)):
        with pytest.raises(ValueError, match=f"got {shape[1]} bands x {shape[2]} frames"):
            levels(shape, 4096, 128)


@pytest.mark.parametrize(("channel_base", "channel_max"), [(127, 16), (1024, 0)])
def test_networks_without_channels_are_refused(channel_base: int, channel_max: int) -> None:
    with pytest.raises(ValueError, match="channel_base must be at least the longer side, 128, and channel_max 1"):
        levels((1, 64, 128), channel_base, channel_max)
