"""Augmentation keeps silence silent, draws independently for each clip, and passes gradients."""

from typing import Any

import pytest
import scipy.ndimage
import torch
from torch import Tensor

from audiogen.augment.spectrogram import SpectrogramAugment, shift_time

OFF: dict[str, Any] = {"max_shift": 0, "gain": 0.0, "mask_probability": 0.0}


def clips(batch: int = 4, channels: int = 2) -> Tensor:
    return torch.rand(batch, channels, 16, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_silence_stays_silence() -> None:
    augment = SpectrogramAugment(max_shift=8, gain=1.0, mask_probability=1.0)
    assert set(augment(torch.full((64, 1, 16, 20), -1.0)).unique().tolist()) == {-1.0}


@pytest.mark.parametrize("frames", [[0, 3, -5, 1], [20, -20, 25, -25]])
def test_shift_matches_scipy_and_uncovers_silence(frames: list[int]) -> None:
    spec = clips()
    moved = shift_time(spec, torch.tensor(frames))
    for clip, original, distance in zip(moved, spec, frames, strict=True):
        expected = scipy.ndimage.shift(original.numpy(), (0, 0, distance), order=0, cval=-1.0)
        torch.testing.assert_close(clip, torch.from_numpy(expected), rtol=0, atol=0)


def test_gradient_of_a_shifted_clip_is_the_gradient_shifted_back() -> None:
    spec, slope, frames = clips().requires_grad_(), clips() + 3, torch.tensor([0, 3, -5, 19])
    (gradient,) = torch.autograd.grad((shift_time(spec, frames) * slope).sum(), spec)
    expected = shift_time(slope - 1, -frames) + 1  # 0 for frames that were shifted out
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)


def test_everything_disabled_changes_nothing() -> None:
    spec = clips()
    assert torch.equal(SpectrogramAugment(**OFF)(spec), spec)


def test_shift_moves_each_clip_by_at_most_the_maximum() -> None:
    spec = torch.full((500, 1, 16, 20), -1.0)
    spec[..., 10] = 0.5
    moved = SpectrogramAugment(**{**OFF, "max_shift": 3})(spec)
    positions = (moved[:, 0, 0] == 0.5).float().argmax(dim=1)
    assert set(positions.tolist()) == set(range(7, 14))  # both ends included
    assert torch.equal(moved.sum(dim=(1, 2, 3)), spec.sum(dim=(1, 2, 3)))


def test_gain_adds_one_level_per_clip_with_the_given_deviation() -> None:
    spec = clips(2000).clamp_min(0)  # loud enough for the full gain
    levels = (SpectrogramAugment(**{**OFF, "gain": 0.1})(spec) - spec).flatten(1)
    assert (levels.amax(dim=1) - levels.amin(dim=1)).max() < 1e-6
    # Standard errors of 2000 draws: 0.1 / sqrt(2000) = 0.0022 and 0.1 / sqrt(4000) = 0.0016; four of each.
    assert levels[:, 0].mean().item() == pytest.approx(0, abs=0.009)
    assert levels[:, 0].std().item() == pytest.approx(0.1, abs=0.0065)


def test_masks_silence_one_range_of_bands_and_one_of_frames() -> None:
    masked = SpectrogramAugment(**{**OFF, "mask_probability": 1.0}, max_mask=5)(torch.zeros(400, 2, 16, 20))
    assert set(masked.unique().tolist()) == {-1.0, 0.0}
    assert torch.equal(masked[:, 0], masked[:, 1])  # the same in all channels
    hidden = masked[:, 0] == -1  # [B, F, L]
    for lines in (hidden.all(dim=2), hidden.all(dim=1)):  # bands, frames
        starts = lines.float().diff(dim=1, prepend=torch.zeros(400, 1)) == 1
        assert starts.sum(dim=1).tolist() == [1] * 400
        assert set(lines.sum(dim=1).tolist()) == {1, 2, 3, 4, 5}
        assert lines.any(dim=0).all()  # every band and frame is reached
    bands, frames = hidden.all(dim=2), hidden.all(dim=1)
    assert torch.equal(hidden, bands[:, :, None] | frames[:, None, :])


def test_mask_probability_applies_to_each_mask() -> None:
    masked = SpectrogramAugment(**{**OFF, "mask_probability": 0.3})(torch.zeros(2000, 1, 16, 20))[:, 0] == -1
    bands, frames = masked.all(dim=2).any(dim=1).float(), masked.all(dim=1).any(dim=1).float()
    deviation = 4 * (0.3 * 0.7 / 2000) ** 0.5
    assert bands.mean().item() == pytest.approx(0.3, abs=deviation)
    assert frames.mean().item() == pytest.approx(0.3, abs=deviation)
    assert (bands * frames).mean().item() == pytest.approx(0.09, abs=deviation)  # drawn independently


def test_mask_wider_than_the_clip_is_limited_to_it() -> None:
    masked = SpectrogramAugment(**{**OFF, "mask_probability": 1.0}, max_mask=50)(torch.zeros(200, 1, 16, 20))
    whole = (masked == -1).all(dim=3).all(dim=2)[:, 0]
    assert whole.any()
    assert not whole.all()


@pytest.mark.parametrize("switch", [{"max_shift": 4}, {"gain": 0.5}, {"mask_probability": 1.0}])
def test_clips_of_a_batch_are_drawn_independently(switch: dict[str, Any]) -> None:
    augmented = SpectrogramAugment(**{**OFF, **switch})(clips(1).expand(32, -1, -1, -1))
    assert len(augmented.flatten(1).unique(dim=0)) > 5  # nine shifts, or more


def test_same_seed_gives_the_same_result() -> None:
    augment = SpectrogramAugment()
    torch.manual_seed(5)
    first = augment(clips())
    torch.manual_seed(5)
    assert torch.equal(augment(clips()), first)
    assert not torch.equal(augment(clips()), first)


def test_input_is_not_modified() -> None:
    spec = clips()
    SpectrogramAugment(mask_probability=1.0)(spec)
    assert torch.equal(spec, clips())


def test_gradient_matches_finite_differences() -> None:
    augment = SpectrogramAugment(max_shift=2, gain=0.1, mask_probability=1.0, max_mask=2)

    def repeatable(spec: Tensor) -> Tensor:
        torch.manual_seed(3)
        return augment(spec)

    spec = clips()[:2, :1, :4, :6].double().requires_grad_()
    assert torch.autograd.gradcheck(repeatable, spec)


def test_masked_positions_get_no_gradient() -> None:
    spec = clips().requires_grad_()
    augmented = SpectrogramAugment(**{**OFF, "mask_probability": 1.0})(spec)
    (gradient,) = torch.autograd.grad(augmented.sum(), spec)
    assert torch.equal(gradient == 0, augmented == -1)


@pytest.mark.parametrize(
    "options", [{"max_shift": -1}, {"gain": -0.1}, {"max_mask": 0}, {"mask_probability": 1.1}, {"mask_probability": -1}]
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"{name}.*got.*{value}"):
        SpectrogramAugment(**options)
