"""The StyleGAN2 training step compared with its losses."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from audiogen.losses.adversarial import logistic_fake, logistic_real
from audiogen.losses.regularizers import mode_seeking, path_length_penalty, path_lengths, r1_penalty
from audiogen.models.stylegan2 import StyleGAN2
from audiogen.networks.stylegan2 import Discriminator, Generator
from audiogen.transforms.mel import LogMel

SMALL = {"channel_base": 256, "channel_max": 16}


def make(label_names: tuple[str, ...] = ("a", "b"), **arguments: object) -> StyleGAN2:
    """Return a small float32 model whose backward passes need no Trainer."""
    torch.manual_seed(0)
    model = StyleGAN2(
        LogMel(8000, 512, 128, n_mels=32, num_frames=32),
        list(label_names),
        batch_size=8,
        generator=partial(Generator, z_dim=8, w_dim=16, **SMALL),
        discriminator=partial(Discriminator, num_mapping_layers=1, **SMALL),
        **{"precision": "fp32", "style_mixing": 0.0} | arguments,
    )
    model.manual_backward = lambda loss, **kwargs: loss.backward(**kwargs)
    return model.train()


@pytest.fixture
def real() -> Tensor:
    return torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


LABEL = torch.eye(2)[torch.arange(8) % 2]


def assert_gradients(network: nn.Module, loss: Tensor) -> None:
    """Check that a network's gradients equal those of a loss."""
    parameters = list(network.parameters())
    for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.allclose(got, torch.zeros_like(got) if expected is None else expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("augmented", [False, True])
def test_one_evaluation_gives_the_gradients_of_both_losses(real: Tensor, augmented: bool) -> None:
    model = make(augment=nn.Hardtanh(-0.5, 0.5) if augmented else None)
    torch.manual_seed(5)
    model.adversarial_backward(real, LABEL)
    torch.manual_seed(5)
    fake = model.generator.synthesis(model._styles(model._latents(8), LABEL))
    fake_logits = model.discriminator(model.augment(fake), LABEL)
    real_logits = model.discriminator(model.augment(real), LABEL)
    assert_gradients(model.generator, logistic_real(fake_logits))
    detached = model.discriminator(model.augment(fake.detach()), LABEL)
    assert_gradients(model.discriminator, logistic_fake(detached) + logistic_real(real_logits))


def test_mode_seeking_adds_a_loss_on_separate_pairs_to_the_generator_only(real: Tensor) -> None:
    model = make(mode_seeking_weight=0.5)
    torch.manual_seed(5)
    model.mode_seeking_backward(2, LABEL.roll(1, 0)[::4])
    torch.manual_seed(5)
    z = model._latents(4)
    pairs = LABEL.roll(1, 0)[::4].repeat_interleave(2, 0)  # a pair has one class
    fake = model.generator.synthesis(model._styles(z, pairs))
    assert_gradients(model.generator, 0.5 * 4 * mode_seeking(fake, z))  # computed every fourth step
    assert all(parameter.grad is None for parameter in model.discriminator.parameters())


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_discriminator_sees_generated_clips_with_the_labels_of_the_real_ones(real: Tensor, weight: float) -> None:
    model = make(label_names=("a", "b", "c", "d"), mode_seeking_weight=weight)
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    label = torch.eye(4)[torch.arange(8) % 4]
    model.adversarial_backward(real, label)
    assert len(seen) == 2
    assert all(
        torch.equal(each, label) for each in seen
    )  # each group of the standard deviation has four classes in both batches


def test_lazy_penalties_are_weighted_by_their_interval(real: Tensor) -> None:
    model = make(r1_gamma=3.0, r1_interval=5, path_length_weight=0.5, path_length_interval=7)
    model.r1_backward(real, LABEL)
    clips = real.clone().requires_grad_()
    assert_gradients(model.discriminator, 3.0 / 2 * 5 * r1_penalty(model.discriminator(clips, LABEL), clips))

    torch.manual_seed(5)
    model.path_length_backward(4, LABEL)
    mean = model.path_length_mean.clone()
    torch.manual_seed(5)
    ws = model._styles(model._latents(4), LABEL[:4])
    spec = model.generator.synthesis(ws)
    lengths = path_lengths(spec, ws, torch.randn_like(spec))
    assert torch.allclose(mean, 0.01 * lengths.mean())
    assert_gradients(model.generator, 0.5 * 7 * path_length_penalty(lengths, mean))  # the mean is a constant


def test_auto_settings_depend_on_size_and_batch() -> None:
    model = make()
    assert model.r1_gamma == pytest.approx(0.0002 * 32 * 32 / 8)
    assert model.ema_half_life_kimg == pytest.approx(8 * 10 / 32)
    assert make(r1_gamma=0.3, ema_half_life_kimg=7.0).r1_gamma == 0.3


def test_optimisers_are_corrected_for_lazy_penalties() -> None:
    generator, discriminator = make(learning_rate=0.01, r1_interval=16, path_length_interval=4).configure_optimizers()
    assert generator.defaults["lr"] == pytest.approx(0.01 * 4 / 5)
    assert generator.defaults["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))
    assert discriminator.defaults["lr"] == pytest.approx(0.01 * 16 / 17)
    without = make(path_length_interval=0, beta1=0.5).configure_optimizers()[0]
    assert without.defaults["lr"] == 0.0025
    assert without.defaults["betas"] == (0.5, 0.99)


def test_style_mixing_changes_later_layers_only() -> None:
    model = make(style_mixing=1.0)
    ws = model._styles(model._latents(4), LABEL[:4])
    same = [bool(torch.equal(ws[:, 0], ws[:, layer])) for layer in range(ws.shape[1])]
    assert same[0]
    assert not same[-1]
    assert same == sorted(same, reverse=True)
    plain = make(style_mixing=0.0)._styles(torch.randn(4, 8), LABEL[:4])
    assert torch.equal(plain, plain[:, :1].expand_as(plain))


def test_both_networks_depend_on_the_class(real: Tensor) -> None:
    model = make()
    assert not torch.allclose(model.discriminator(real, LABEL), model.discriminator(real, LABEL.flip(0)))
    seeds = [0, 0]
    first, second = model.sample(torch.tensor([0, 1]), seeds)
    assert not torch.allclose(first, second, atol=1e-3)


def test_averaged_generator_never_trains() -> None:
    model = make()
    assert not model.generator_ema.training
    assert not any(parameter.requires_grad for parameter in model.generator_ema.parameters())
    assert model.train().generator.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"style_mixing": 1.5}, "style_mixing"),
        ({"r1_interval": -1}, "r1_interval"),
        ({"mode_seeking_weight": -0.1}, "mode_seeking_weight must be >= 0, got -0.1"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)
