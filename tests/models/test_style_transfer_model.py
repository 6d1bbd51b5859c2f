"""Style transfer as a model: its losses, batching and state."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.losses.style import StyleTarget
from audiogen.models.style_transfer import ROLES, StyleTransfer
from audiogen.models.transfer import Transfer
from audiogen.networks.style_cnn import StyleCNN
from audiogen.transforms.stft import STFT

FRAMES = 60


def transform() -> STFT:
    return STFT(8000, 128, 32, num_frames=FRAMES, scale="log1p", ceil_db=12.0)


def model(network: dict[str, Any] | None = None, **settings: Any) -> StyleTransfer:
    layers = {"width": 48, "kernel": 5, "num_stacks": 1, "pool": "none", "batch_norm": False} | (network or {})
    defaults = {"content_layer": "relu_1", "balance": 0.5, "softplus": True, "line_search": True, "precision": "fp32"}
    return StyleTransfer(
        transform(),
        ROLES,
        1,
        extractor=lambda shape: StyleCNN(shape, **layers),
        **(defaults | {"bound_weight": 0.0, "iterations": 20} | settings),
    )


def sounds(num: int, seed: int = 0, frames: int = FRAMES) -> Tensor:
    """Return spectrograms of noise and intermittent tones, float32 [N, 1, F, L]."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames * 32) / 8000
    pitch = 300 + 2000 * torch.rand(num, 1, 1, generator=generator)
    tones = 0.3 * torch.sin(2 * torch.pi * pitch * time) * (time % 0.1 < 0.05)
    return transform()(tones + 0.02 * torch.randn(num, 1, frames * 32, generator=generator))


def styles(num: int, seed: int = 1, frames: int = 45) -> list[list[Tensor]]:
    return [[spec] for spec in sounds(num, seed, frames)]


def run(transfer: Transfer, num: int = 20) -> list[float]:
    return [transfer.step().total.sum().item() for _ in range(num)]


@pytest.mark.parametrize("settings", [{}, {"balance": None, "style_weight": 1e7, "softplus": False}])
def test_loss_never_rises_under_lbfgs_with_a_line_search(settings: dict[str, Any]) -> None:
    totals = run(model(**settings).begin(sounds(1), styles(1)), 30)
    assert all(after <= before for before, after in itertools.pairwise(totals))
    assert totals[-1] < 0.5 * totals[0]


def test_batch_of_pairs_gives_the_same_as_each_pair_alone() -> None:
    net = model().double()
    content, wanted = sounds(3).double(), [[spec[0].double()] for spec in styles(3)]
    together = net.begin(content, wanted)
    run(together)
    for index in range(3):
        alone = net.begin(content[index, None], wanted[index : index + 1])
        run(alone)
        torch.testing.assert_close(alone.spec[0], together.spec[index], rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_sound_depends_on_the_seed_only(method: Any) -> None:
    made = []
    for seed in (0, 0, 1):
        transfer = model(start="noise", seed=seed, method=method, balance=None, content_weight=0.0).begin(
            None, styles(1)
        )
        run(transfer, 5)
        made.append(transfer.spec)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_noise_of_a_sound_does_not_depend_on_its_batch() -> None:
    net = model(start="noise", balance=None, content_weight=0.0)
    both = net.begin(None, styles(2))
    second = net.begin(None, styles(2)[1:], first_seed=1)
    assert torch.equal(both.spec[1], second.spec[0])


def test_balance_goes_from_content_to_style() -> None:
    net = model(balance=[0.0, 0.3, 0.7, 1.0])
    transfer = net.begin(sounds(1), styles(1))
    run(transfer, 40)
    assert net.variant_names() == ["balance 0", "balance 0.3", "balance 0.7", "balance 1"]
    assert transfer.losses is not None
    content, style = transfer.losses.content.tolist(), transfer.losses.style.tolist()
    assert content == sorted(content)
    assert style == sorted(style, reverse=True)
    assert content[0] < 1e-3
    assert style[0] > 0.8
    assert style[3] < 0.01


def test_balance_does_not_depend_on_loudness_or_network_width() -> None:
    """Relative losses do not depend on the scale of the features."""
    found = []
    for scale in (1.0, 7.0):
        transfer = model({"input_scale": scale, "init": 0.1}).begin(sounds(1), styles(1))
        run(transfer)
        assert transfer.losses is not None
        found.append([part.item() for part in transfer.losses[1:3]])
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_content_itself_has_a_relative_style_of_one_and_silence_a_content_of_one() -> None:
    transfer = model().begin(sounds(1), styles(1))
    losses = transfer.objective(sounds(1))
    assert losses.content.item() == 0
    assert losses.style.item() == pytest.approx(1, rel=1e-5)
    silence = transform()(torch.zeros(1, 1, FRAMES * 32))
    assert transfer.objective(silence).content.item() == pytest.approx(1, rel=1e-5)


def test_steady_content_is_restyled_as_much_as_changing_content() -> None:
    found = []
    for content in (sounds(1), sounds(1)[..., FRAMES // 2, None].expand_as(sounds(1))):
        transfer = model().begin(content, styles(1))
        run(transfer, 40)
        assert transfer.losses is not None
        found.append(transfer.losses.style.item())
    assert found[1] < 2 * found[0]


def test_silent_content_stays_silent() -> None:
    """For example a pause in a long sound that is processed in chunks."""
    silence = transform()(torch.zeros(1, 1, FRAMES * 32))
    transfer = model().begin(silence, styles(1))
    run(transfer, 10)
    assert transfer.spec.isfinite().all()
    assert (transfer.spec + 1).abs().max() < 0.15


def test_texture_of_another_length_has_the_statistics_of_its_reference() -> None:
    net = model(start="noise", balance=None, relative=True, content_weight=0.0)
    reference = styles(1)[0]
    transfer = net.begin(None, [reference], num_frames=3 * FRAMES)
    run(transfer, 60)
    assert transfer.spec.shape[3] == 3 * FRAMES
    target = StyleTarget([[net.extractor.features(reference[0][None], ["relu_1"])["relu_1"][0]]])
    found = net.extractor.features(transfer.spec, ["relu_1"])["relu_1"]
    assert (target.distance(found) / target.power).item() < 0.01
    assert transfer.losses is not None
    assert transfer.losses.style.item() == pytest.approx((target.distance(found) / target.power).item(), rel=1e-2)


def test_prefix_stays_fixed_and_the_rest_continues_it() -> None:
    net = model(start="noise", balance=None, relative=True, content_weight=0.0)
    prefix = sounds(1, seed=5)[..., :12]
    transfer = net.begin(None, styles(1), num_frames=FRAMES, prefix=prefix)
    run(transfer)
    assert torch.equal(transfer.spec[..., :12], prefix)
    assert not torch.equal(transfer.spec[..., 12:], net.begin(None, styles(1), num_frames=FRAMES).spec[..., 12:])


def test_softplus_keeps_spectrograms_above_silence() -> None:
    transfer = model(start="noise", balance=None, relative=True, content_weight=0.0).begin(None, styles(1))
    run(transfer)
    assert transfer.spec.min() >= -1


def test_bound_is_the_norm_of_values_out_of_range() -> None:
    found = {}
    for weight in (0.0, 1.0):
        transfer = model(softplus=False, bound_weight=weight, balance=1.0).begin(sounds(1), styles(1))
        run(transfer, 30)
        found[weight] = (transfer.spec.clamp(-1, 1) - transfer.spec).norm().item()
    assert found[1.0] < 0.3 * found[0.0]


def test_loss_that_is_not_finite_is_an_error_and_keeps_the_last_accepted_spectrogram() -> None:
    transfer = model(line_search=False).begin(sounds(1), styles(1))
    run(transfer, 5)
    before = transfer.spec
    transfer.objective.weights.style.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss became NaN or infinite at iteration 6"):
        transfer.step()
    assert torch.equal(transfer.spec, before)
    assert before.isfinite().all()


def test_resumed_state_continues_exactly() -> None:
    net = model()
    whole = net.begin(sounds(1), styles(1))
    run(whole, 12)
    first = net.begin(sounds(1), styles(1))
    run(first, 5)
    second = net.begin(sounds(1), styles(1))
    second.load_state_dict(first.state_dict())
    assert second.losses == first.losses
    run(second, 7)
    assert torch.equal(second.spec, whole.spec)
    assert second.iteration == 12


def test_checkpoints_contain_no_fixed_networks() -> None:
    assert model().state_dict() == {}
    net = model()
    net.load_state_dict({})


def test_time_as_channels_keeps_the_length() -> None:
    transfer = model({"orientation": "time"}).begin(sounds(1), styles(1, frames=FRAMES))
    totals = run(transfer, 15)
    assert totals[-1] < totals[0]
    assert transfer.spec.shape == (1, 1, 65, FRAMES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"balance": 1.5}, r"balance must be in \[0"),
        ({"style_weight": -1.0}, "weights must not be negative"),
        ({"style_weight": [1.0, 2.0], "balance": [0.1, 0.2, 0.3]}, "cannot both be lists"),
        ({"start": "silence"}, "start must be content or noise"),
        ({"method": "sgd"}, "method must be lbfgs or adam"),
        ({"balance": None, "style_weight": 0.0, "content_weight": 0.0}, "nothing to optimise"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**settings)


def test_data_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs pairs .* got data with the classes a, b"):
        StyleTransfer(transform(), ["a", "b"], 1, extractor=lambda shape: StyleCNN(shape, width=8))


def test_exactly_one_network_is_required() -> None:
    with pytest.raises(ValueError, match="give either extractor"):
        StyleTransfer(transform(), ROLES, 1)
