"""Long sounds in blocks give the same spectrogram, and a waveform without seams."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.gradient import GradientInversion
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod, blend
from audiogen.transforms.phase.spsi import SPSI
from audiogen.transforms.stft import STFT
from audiogen.transforms.streaming import spectrogram_blocks, waveform_blocks
from audiogen.transforms.transform import SpectrogramTransform

TRANSFORMS = [
    LogMel(8000, 512, 128, n_mels=40, num_frames=32),
    LogMel(8000, 512, 100, n_mels=40, num_frames=32, num_channels=2),
    STFT(8000, 256, 64),
    MFCC(8000, 512, 128),
    CQT(8000, hop_length=64, f_min=200.0, n_bins=24),
]


def noise(num_channels: int, num_samples: int) -> Tensor:
    return 0.1 * torch.randn(num_channels, num_samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: f"{type(t).__name__}-{t.shape[0]}")
@pytest.mark.parametrize(("num_samples", "block", "context"), [(20011, 37, 0), (20000, 32, 16), (500, 32, 8)])
def test_blocks_equal_the_whole_spectrogram(
    transform: SpectrogramTransform, num_samples: int, block: int, context: int
) -> None:
    wav = noise(transform.shape[0], num_samples)
    whole = transform(wav[None])
    blocks = list(spectrogram_blocks(transform, wav.split(777, dim=1), block, context))
    own = torch.cat([spec[..., before : before + num] for spec, before, num in blocks], dim=3)
    torch.testing.assert_close(own, whole, atol=2e-4, rtol=0)
    start = 0
    for spec, before, num in blocks:
        assert before == min(context, start)
        torch.testing.assert_close(spec, whole[..., start - before :][..., : spec.shape[3]], atol=2e-4, rtol=0)
        assert spec.shape[3] == before + num + min(context, whole.shape[3] - start - num)
        start += num
    assert all(num == block for _, _, num in blocks[:-1])


def test_empty_sound_has_no_blocks() -> None:
    assert list(spectrogram_blocks(TRANSFORMS[0], [], 8)) == []
    assert list(waveform_blocks(TRANSFORMS[0], [])) == []


@pytest.mark.parametrize("lengths", [[200], [100] * 7, [3] * 60, [300, 1, 2]])
@pytest.mark.parametrize("phase", [GriffinLim(4), SPSI(), GradientInversion(2, start=GriffinLim(2))])
def test_sound_is_as_long_as_all_blocks_together(lengths: list[int], phase: PhaseMethod) -> None:
    transform = LogMel(8000, 512, 128, n_mels=40, num_frames=32, phase=phase)
    spec = transform(noise(1, 128 * sum(lengths))[None])
    wav = torch.cat(list(waveform_blocks(transform, spec.split(lengths, dim=3))), dim=2)
    assert wav.shape == (1, 1, 128 * sum(lengths))
    assert wav.isfinite().all()


def test_a_single_block_is_the_plain_inverse() -> None:
    transform = TRANSFORMS[0]
    spec = transform(noise(1, 128 * 20)[None])
    torch.testing.assert_close(torch.cat(list(waveform_blocks(transform, [spec])), dim=2), transform.inverse(spec))


def near(borders: list[int], num: int, reach: int = 300) -> Tensor:
    """Return which samples are near a border, bool [num]."""
    found = torch.zeros(num, dtype=torch.bool)
    for border in borders:
        found[border - reach : border + reach] = True
    return found


def steps(wav: Tensor, borders: list[int]) -> tuple[float, float]:
    """Return the largest change of slope near borders and elsewhere, away from the ends."""
    curvature = (wav[2:] - 2 * wav[1:-1] + wav[:-2])[1000:-1000].abs()
    there = near(borders, len(wav))[1001:-1001]
    return float(curvature[there].max()), float(curvature[~there].max())


def dips(wav: Tensor, borders: list[int], size: int = 160) -> tuple[float, float]:
    """Return the lowest level of windows near borders and elsewhere, away from the ends."""
    level = wav.unfold(0, size, size).square().mean(dim=1).sqrt()[7:-7]
    there = near(borders, len(wav)).unfold(0, size, size).any(dim=1)[7:-7]
    return float(level[there].min()), float(level[~there].min())


def glide(kind: str, seconds: int) -> Tensor:
    """Return a steady tone or a sweep from 200 to 1,000 Hz, float32 [T]."""
    time = torch.arange(8000 * seconds, dtype=torch.float64) / 8000
    cycles = 437 * time if kind == "tone" else 200 * time + 400 / seconds * time.square()
    return (0.3 * torch.sin(2 * math.pi * cycles)).float()


@pytest.mark.parametrize("kind", ["tone", "sweep"])
def test_no_step_at_borders_is_larger_than_within_a_block(kind: str) -> None:
    transform = TRANSFORMS[0]
    blocks = list(waveform_blocks(transform, transform(glide(kind, 8)[None, None]).split(64, dim=3)))
    borders = torch.tensor([block.shape[2] for block in blocks]).cumsum(0)[:-1].tolist()
    assert len(borders) > 5
    sound = torch.cat(blocks, dim=2)[0, 0]
    at_borders, within = steps(sound, borders)
    assert at_borders <= 1.1 * within
    at_borders, within = dips(sound, borders)
    assert at_borders >= 0.9 * within  # discontinuous phases would cancel


def test_discontinuous_phases_are_detected() -> None:
    """Inverting each block on its own fails the test above."""
    transform = TRANSFORMS[0]
    spec = transform(glide("tone", 4)[None, None])
    parts = [transform.inverse(part)[0, 0] for part in spec.split(64, dim=3)]
    borders = torch.tensor([len(part) for part in parts]).cumsum(0)[:-1].tolist()
    at_borders, within = steps(torch.cat(parts), borders)
    assert at_borders > 2 * within


@pytest.mark.parametrize("phase", [GriffinLim(8), SPSI(), GradientInversion(3, start=GriffinLim(2))])
def test_first_half_of_the_prefix_is_kept(phase: PhaseMethod) -> None:
    transform = LogMel(8000, 512, 128, n_mels=40, num_frames=32, phase=phase)
    wav = noise(2, 128 * 32)[:, None]
    made = transform.inverse(transform(wav), wav[..., :2048])
    torch.testing.assert_close(made[..., :1024], wav[..., :1024])
    assert not torch.allclose(made[..., 2048:], wav[..., 2048:], atol=1e-3)


def test_blend_without_prefix_changes_nothing() -> None:
    wav = noise(1, 10)
    assert blend(wav, None) is wav
