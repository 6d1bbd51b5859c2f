"""Levels measure the sound and ignore pauses."""

import pytest
import torch

from audiogen.audio.level import active_level

RATE = 8000


def noise(seconds: float, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("db", [0, -20, -60, -100])
def test_scaling_the_sound_scales_its_level(db: int) -> None:
    gain = 10 ** (db / 20)
    assert active_level([gain * noise(1)], RATE) == pytest.approx(gain * active_level([noise(1)], RATE), rel=1e-6)


def test_level_of_steady_noise_is_its_root_mean_square() -> None:
    assert active_level([noise(2)], RATE) == pytest.approx(noise(2).square().mean().sqrt().item(), rel=0.01)


def test_pauses_do_not_count() -> None:
    padded = torch.cat([torch.zeros(2, RATE), noise(1), 1e-4 * noise(5)], dim=1)
    assert active_level([padded], RATE) == pytest.approx(active_level([noise(1)], RATE), rel=0.01)


def test_blocks_give_the_same_level_as_the_whole() -> None:
    wav = noise(1.234)
    assert active_level(wav.split(777, dim=1), RATE) == pytest.approx(active_level([wav], RATE), rel=1e-9)


def test_silence_and_empty_input_have_level_zero() -> None:
    assert active_level([torch.zeros(1, 100)], RATE) == 0
    assert active_level([], RATE) == 0
