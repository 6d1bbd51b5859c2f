"""Texture distances: large between different textures, small between takes of one."""

import pytest
import torch

from audiogen.metrics.texture import texture_distance
from tests.tiny_transfer import RATE, bursts, clicks


def wav(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)[None]


def noise(seed: int, seconds: float = 3.0) -> torch.Tensor:
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def test_distance_to_the_same_sound_is_zero_at_any_level() -> None:
    assert texture_distance(noise(0), noise(0), RATE) == (0, 0, 0)
    assert max(texture_distance(0.01 * noise(0), noise(0), RATE)) < 1e-6


def test_takes_of_one_texture_are_closer_than_different_textures() -> None:
    takes = texture_distance(noise(0), noise(1, 5.0), RATE)
    others = texture_distance(wav(bursts()), noise(1), RATE)
    assert all(one < 0.5 * other for one, other in zip(takes, others, strict=True))


def test_mean_is_the_difference_of_spectra_in_decibels() -> None:
    time = torch.arange(3 * RATE) / RATE
    tone = 0.1 * torch.sin(2 * torch.pi * 1000 * time)
    quiet = torch.cat([0.3 * tone[: RATE // 100], 0.3 * tone])  # both are compared at their loudest
    assert texture_distance(quiet[None], tone[None], RATE).mean < 1
    assert texture_distance(tone[None], noise(0), RATE).mean > 10


def test_modulation_distinguishes_rhythms() -> None:
    same = texture_distance(wav(clicks(8, 4.0)), wav(clicks(8)), RATE).modulation
    assert texture_distance(wav(clicks(3)), wav(clicks(8)), RATE).modulation > 3 * same


@pytest.mark.parametrize(
    ("sound", "message"), [(noise(0, 0.9), "at least 1 s of sound, got 0.90 s"), (noise(0) * 0, "silent")]
)
def test_short_and_silent_sounds_are_refused(sound: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        texture_distance(sound, noise(0), RATE)
