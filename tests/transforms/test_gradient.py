"""Gradient inversion comes closer to the representation than the sound it starts from."""

import pytest
import torch
from torch import Tensor

from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.gradient import GradientInversion
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.phase.spsi import SPSI
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from tests.transforms.sounds import harmonic, noise

START = GriffinLim(8)
TRANSFORMS: dict[str, SpectrogramTransform] = {
    "stft": STFT(8000, 512, 128, 16),
    "log1p": STFT(8000, 512, 128, 16, scale="log1p"),
    "mel": LogMel(8000, 512, 128, 64, 16),
    "mfcc": MFCC(8000, 512, 128, 24, 64, 16),
    "cqt": CQT(8000, 32, 110, 48, 12, 64),
}


def error(transform: SpectrogramTransform, wav: Tensor, spec: Tensor) -> float:
    return float((transform(wav) - spec).abs().mean())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_more_steps_come_closer_to_the_representation(name: str) -> None:
    transform = TRANSFORMS[name]
    spec = transform(harmonic(transform))
    errors = [error(transform, GradientInversion(steps, start=START)(transform, spec), spec) for steps in (0, 60, 200)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.75 * errors[0]


def test_zero_steps_return_the_initial_sound() -> None:
    transform = TRANSFORMS["mel"]
    spec = transform(harmonic(transform))
    started = GradientInversion(0, start=SPSI())(transform, spec)
    torch.testing.assert_close(started, SPSI()(transform, spec), rtol=0, atol=1e-6)


def test_works_equally_well_on_quiet_sounds() -> None:
    loud, quiet = (STFT(8000, 512, 128, 16, floor_db=level - 80, ceil_db=level) for level in (0, -60))
    spec = loud(harmonic(loud))
    method = GradientInversion(10, start=START)
    torch.testing.assert_close(method(quiet, spec) * 1000, method(loud, spec), rtol=0, atol=1e-3)


def test_hardly_changes_a_sound_that_already_matches() -> None:
    transform = TRANSFORMS["mel"]
    wav = noise(transform)

    class Original(PhaseMethod):
        def __call__(self, transform: SpectrogramTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
            return wav.clone()

    stayed = GradientInversion(5, learning_rate=1e-4, start=Original())(transform, transform(wav))
    assert (stayed - wav).norm() < 5e-4 * wav.norm()


def test_leaves_no_gradient_behind() -> None:
    transform = TRANSFORMS["mel"]
    spec = transform(harmonic(transform)).requires_grad_()
    wav = GradientInversion(2, start=START)(transform, spec)
    assert not wav.requires_grad
    assert spec.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": -1}, "need num_steps >= 0 and learning_rate > 0, got -1 and 0.01"),
        ({"learning_rate": 0.0}, "got 200 and 0.0"),
    ],
    ids=["num_steps", "learning_rate"],
)
def test_values_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientInversion(**options)  # type: ignore[arg-type]
