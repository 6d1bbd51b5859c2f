"""The MelGAN-VC training step compared with its losses, and conversion of sounds of any length."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.data.batch import Batch
from audiogen.losses.adversarial import hinge_fake, hinge_real
from audiogen.losses.siamese import siamese_margin, travel_angle, travel_distance
from audiogen.models.melgan_vc import MelGANVC
from audiogen.networks.melgan_vc import Discriminator, Generator, Siamese
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.segments import join_segments, split_segments
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform

NAMES = ("anna", "bert", "carl")


def make(
    names: tuple[str, ...] = NAMES[:2],
    targets: Any = None,
    transform: SpectrogramTransform | None = None,
    **arguments: Any,
) -> MelGANVC:
    """Return a small float32 model whose backward passes need no Trainer."""
    torch.manual_seed(0)
    model = MelGANVC(
        transform or LogMel(8000, 256, 128, n_mels=16, num_frames=24),
        list(names),
        batch_size=6,
        generator=partial(Generator, width=8),
        siamese=partial(Siamese, num_features=6, width=8),
        discriminator=partial(Discriminator, width=8),
        targets=targets,
        **{"precision": "fp32"} | arguments,
    )
    model.manual_backward = lambda loss, **kwargs: loss.backward(**kwargs)
    return model.train()


def clips(num: int = 6, frames: int = 24) -> Tensor:
    return torch.rand(num, 1, 16, frames, generator=torch.Generator().manual_seed(1)) * 2 - 1


LABEL = torch.tensor([0, 1, 0, 1, 0, 1])


def assert_gradients(loss: Tensor, *networks: nn.Module) -> None:
    """Check that the networks' gradients equal those of a loss."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(got, torch.zeros_like(got) if expected is None else expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "transform",
    [
        LogMel(8000, 256, 128, n_mels=16, num_frames=24, num_channels=2),
        STFT(8000, 256, 128, num_frames=24),
        MFCC(8000, 512, 128, num_frames=24),
        CQT(8000, 64, f_min=200.0, n_bins=24, num_frames=24),
    ],
    ids=lambda transform: f"{type(transform).__name__}-{transform.shape[0]}",
)
def test_every_representation_can_be_trained_on_and_converted(transform: SpectrogramTransform) -> None:
    model = make(targets="all", transform=transform)
    wav = 0.1 * torch.randn(6, transform.shape[0], transform.num_samples, generator=torch.Generator().manual_seed(0))
    model.backward_losses(model.roles(Batch(transform(wav), LABEL)), train_generator=True)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    spec = transform(wav[:1].repeat(1, 1, 2))
    made = model.convert(spec, torch.tensor([0]))
    assert made.shape == spec.shape
    assert model.transform.inverse(made).isfinite().all()


@pytest.mark.parametrize("pairs", ["clip", "batch"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_gradients_equal_those_of_the_papers_losses(pairs: str, norm: str) -> None:
    weights = {"identity_weight": 2.0, "travel_weight": 3.0, "margin_weight": 5.0, "margin": 4.0}
    model = make(pairs=pairs, identity_norm=norm, **weights)
    spec = clips()
    roles = model.roles(Batch(spec, LABEL))
    assert torch.equal(roles.source, spec[::2])
    assert torch.equal(roles.real, spec[1::2])
    model.eval()  # keeps batch statistics and power iterations fixed between computations
    model.backward_losses(roles, train_generator=True)

    convert = lambda x: join_segments(model.generator(split_segments(x, 3)), 3)  # noqa: E731
    converted, reproduced = convert(roles.source), convert(roles.real)
    before, after = ([model.siamese(segment) for segment in x.chunk(3, dim=3)] for x in (roles.source, converted))
    if pairs == "clip":
        vectors, made = before[0] - before[2], after[0] - after[2]
    else:
        both = [torch.cat(parts) for parts in (before, after)]
        pairs_of = [(i, j) for i in range(9) for j in range(i + 1, 9)]
        vectors, made = (torch.stack([x[i] - x[j] for i, j in pairs_of]) for x in both)
    identity = (F.l1_loss if norm == "l1" else F.mse_loss)(reproduced, roles.real)
    loss = -model.discriminator(converted).mean() + 2.0 * identity + 5.0 * siamese_margin(vectors, 4.0)
    loss = loss + 3.0 * (travel_distance(vectors, made) + travel_angle(vectors, made))
    assert_gradients(loss, model.generator, model.siamese)
    real, fake = model.discriminator(roles.real), model.discriminator(converted.detach())
    assert_gradients((hinge_real(real) + hinge_fake(fake)) / 2, model.discriminator)


def test_cycle_converts_clips_back_to_their_own_domains() -> None:
    model = make(NAMES, "all", cycle_weight=3.0, identity_weight=0.0, travel_weight=0.0, margin_weight=0.0).eval()
    with torch.no_grad():
        for norm in (model.generator.bands.norm, model.generator.down[0].norm):
            norm.bias.normal_()  # so that targets differ
    roles = model.roles(Batch(clips(), torch.tensor([0, 1, 2, 0, 1, 2])))
    model.backward_losses(roles, train_generator=True)
    segments = lambda spec, target: model.generator(split_segments(spec, 3), target.repeat_interleave(3))  # noqa: E731
    converted = join_segments(segments(roles.source, roles.target), 3)
    restored = join_segments(segments(converted, roles.source_domain), 3)
    adversarial = -model.discriminator(converted, roles.target).mean()
    assert_gradients(adversarial + 3.0 * F.l1_loss(restored, roles.source), model.generator)


def test_only_the_discriminator_learns_between_generator_steps() -> None:
    model = make()
    model.backward_losses(model.roles(Batch(clips(), LABEL)), train_generator=False)
    assert all(parameter.grad is None for net in (model.generator, model.siamese) for parameter in net.parameters())
    assert all(parameter.grad is not None for parameter in model.discriminator.parameters())


def test_silent_segments_make_no_pairs() -> None:
    model = make(pairs="batch")
    spec = clips(2)
    spec[:, ..., 8:] = -1  # four of six segments are silent, so 6 of the 15 pairs are identical
    before, after = model.transformation_vectors(spec, spec)
    assert len(before) == len(after) == 15 - 6
    silent = torch.full_like(spec, -1)
    assert all(len(vectors) == 15 for vectors in model.transformation_vectors(silent, silent))


def test_single_target_takes_all_others_as_sources() -> None:
    model = make(NAMES, ["bert"])
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    roles = model.roles(Batch(clips(), label))
    assert torch.equal(roles.source, clips()[[0, 2, 3, 5]])
    assert roles.target.tolist() == [1] * 4
    assert torch.equal(roles.real, clips()[[1, 4]])
    assert model.target_input(roles.target) is None


def test_last_domain_is_the_default_target() -> None:
    assert make(NAMES).targets == [2]


def test_targets_are_drawn_from_all_other_domains() -> None:
    model = make(NAMES, "all")
    assert model.targets == make(NAMES, list(NAMES)).targets == [0, 1, 2]
    label = torch.tensor([0, 1, 2] * 100)
    roles = model.roles(Batch(clips(300), label))
    assert len(roles.source) == len(roles.real) == 300
    assert torch.equal(roles.real_domain, label)
    pairs = torch.stack([label, roles.target], dim=1)
    counts = [int(((pairs[:, 0] == a) & (pairs[:, 1] == b)).sum()) for a in range(3) for b in range(3)]
    assert [counts[0], counts[4], counts[8]] == [0, 0, 0]
    assert min(counts[index] for index in (1, 2, 3, 5, 6, 7)) > 25  # of 50: binomial with deviation 5


def test_generator_with_several_targets_receives_the_target() -> None:
    model = make(NAMES, list(NAMES))
    assert len(model.generator.bands.norm.gain) == 3
    assert model.discriminator.head.out_features == 3
    model.backward_losses(model.roles(Batch(clips(), torch.tensor([0, 1, 2, 0, 1, 2]))), train_generator=True)
    assert model.generator.bands.norm.gain.grad.abs().sum(dim=1).min() > 0  # every target was drawn or reproduced
    with torch.no_grad():
        model.generator_ema.bands.norm.bias.normal_()
    first, second = model.convert(clips(1).expand(2, -1, -1, -1), torch.tensor([0, 1]))
    assert not torch.allclose(first, second, atol=1e-3)


def identity(model: MelGANVC) -> MelGANVC:
    """Make a model convert every segment to itself."""

    class Same(nn.Module):
        def forward(self, spec: Tensor, target: Tensor | None) -> Tensor:
            return spec

    model.generator_ema = Same()
    return model


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("frames", [1, 8, 9, 100])
def test_unchanged_segments_give_the_unchanged_sound(overlap: float, frames: int) -> None:
    spec = clips(2, frames)
    converted = identity(make()).convert(spec, torch.tensor([1, 1]), overlap)
    torch.testing.assert_close(converted, spec)


def test_without_overlap_segments_are_converted_one_by_one() -> None:
    model = make()
    spec = clips(2, 24)
    expected = join_segments(model.generator_ema(split_segments(spec, 3)), 3)
    torch.testing.assert_close(model.convert(spec, torch.tensor([1, 1]), 0), expected)


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.7])
def test_blocks_with_a_segment_of_context_convert_like_the_whole(overlap: float) -> None:
    model = make()
    spec, target = clips(1, 200), torch.tensor([1])
    whole = model.convert(spec, target, overlap)
    hop = model.hop_frames(overlap)
    context = hop * -(-model.segment[2] // hop)
    for start in range(context, 200 - 10 * hop - context, 10 * hop):
        start -= start % hop
        block = spec[..., start - context : start + 10 * hop + context]
        got = model.convert(block, target, overlap)[..., context:-context]
        torch.testing.assert_close(got, whole[..., start : start + 10 * hop])


def test_conversion_of_a_clip_does_not_depend_on_the_others() -> None:
    model = make()
    spec, target = clips(3, 40), torch.tensor([1, 1, 1])
    torch.testing.assert_close(model.convert(spec, target)[1:2], model.convert(spec[1:2], target[:1]))


@pytest.mark.parametrize("label", [[0, 0], [1, 1]])
def test_batch_without_a_source_or_a_target_is_refused(label: list[int]) -> None:
    with pytest.raises(
        ValueError, match=r"a batch of 2 clips has none to convert or none of a target: draw domains even"
    ):
        make().roles(Batch(clips(2), torch.tensor(label)))


def test_averaged_generator_never_trains() -> None:
    model = make()
    assert not model.generator_ema.training
    assert not any(parameter.requires_grad for parameter in model.generator_ema.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ("anna",)}, "conversion needs at least two domains, but the usable data have anna"),
        ({"names": ()}, "conversion needs at least two domains, but the usable data have no classes"),
        ({"targets": ["dora"]}, "targets must be some of anna, bert, got dora"),
        ({"targets": []}, "targets must be some of anna, bert, got none"),
        ({"targets": ["anna", "anna"]}, "targets must be some of anna, bert, got anna, anna"),
        ({"names": tuple("abcdefg")}, "a batch of 6 cannot contain a clip of each of 7 domains"),
        ({"cycle_weight": 1.0}, "cycle_weight converts clips back to their own domains: set targets to all"),
        ({"travel_weight": -1.0}, "expected weights and half-life >= 0"),
        ({"decay_from": 1.5}, r"decay_from in \[0, 1\]"),
        ({"generator_interval": 0}, "generator_interval >= 1"),
    ],
)
def test_invalid_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_clip_that_cannot_be_cut_into_three_segments_is_refused() -> None:
    with pytest.raises(ValueError, match="num_frames must be a multiple of 3, the segments of a clip, got 32"):
        MelGANVC(LogMel(num_frames=32), list(NAMES), 6, Generator, Siamese, Discriminator)


def test_invalid_conversions_are_refused() -> None:
    model = make(NAMES, ["anna", "bert"])
    with pytest.raises(ValueError, match="domain 2 is not a target: this model converts to anna, bert"):
        model.convert(clips(1), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"overlap must be in \[0, 1\), got 1"):
        model.convert(clips(1), torch.tensor([1]), 1.0)
