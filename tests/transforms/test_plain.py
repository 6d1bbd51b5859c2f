"""The zero-phase inverse is exact for an impulse and worse than Griffin-Lim otherwise."""

import torch

from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.phase.plain import ZeroPhase
from audiogen.transforms.stft import STFT


def test_impulse_in_the_middle_of_a_frame_comes_back() -> None:
    """Its phases are 0 in that frame, but not in the others."""
    transform = STFT(8000, 256, 128, num_frames=8, floor_db=-120, phase=ZeroPhase())
    wav = torch.zeros(1, 1, 1024)
    wav[..., 512] = 0.5
    made = transform.inverse(transform(wav))
    assert made.argmax() == 512
    assert made[..., 512].item() > 0.4


def test_magnitudes_are_less_accurate_than_with_griffin_lim() -> None:
    noise = 0.1 * torch.randn(1, 1, 8192, generator=torch.Generator().manual_seed(0))
    errors = []
    for phase in (None, ZeroPhase()):
        transform = LogMel(8000, 256, 64, 32, 128, phase=phase)
        spec = transform(noise)
        errors.append((transform(transform.inverse(spec)) - spec).square().mean())
    assert errors[0] < 0.5 * errors[1]


def test_prefix_is_kept() -> None:
    transform = STFT(8000, 256, 64, num_frames=16, phase=ZeroPhase())
    prefix = torch.rand(1, 1, 200) - 0.5
    assert torch.equal(transform.inverse(torch.zeros(1, 1, 129, 16), prefix)[..., :100], prefix[..., :100])


def test_other_analyses_have_an_inverse_too() -> None:
    transform = CQT(8000, 64, 100.0, 48, 12, 32, phase=ZeroPhase())
    assert transform.inverse(torch.zeros(1, 1, 48, 32)).isfinite().all()
