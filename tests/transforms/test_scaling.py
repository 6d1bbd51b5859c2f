"""Decibels, log1p and linear amplitudes on [-1, 1] are invertible within their range, and silence is exact."""

from typing import Any

import librosa
import numpy as np
import pytest
import torch

from audiogen.transforms.scaling import Scaling, amplitude_to_unit, unit_to_amplitude

FLOOR, CEIL = -80.0, 10.0
FLOORS = [-42.0, -60.0, -80.0, -97.2, -97.3, -100.0]  # in float32, some of these floors round up, others down


def amplitudes() -> torch.Tensor:
    """Return amplitudes from the floor to the ceiling."""
    return 10 ** (torch.linspace(FLOOR + 0.01, CEIL - 0.01, 500, dtype=torch.float64) / 20).float()


def test_matches_librosa_decibels() -> None:
    amplitude = amplitudes()
    decibel = librosa.amplitude_to_db(amplitude.numpy(), ref=1.0, amin=1e-10, top_db=None)
    expected = (torch.from_numpy(decibel) - FLOOR) / (CEIL - FLOOR) * 2 - 1
    torch.testing.assert_close(amplitude_to_unit(amplitude, FLOOR, CEIL), expected, rtol=0, atol=1e-6)


def test_round_trip_returns_the_amplitude() -> None:
    amplitude = amplitudes()
    returned = unit_to_amplitude(amplitude_to_unit(amplitude, FLOOR, CEIL), FLOOR, CEIL)
    torch.testing.assert_close(returned, amplitude, rtol=1e-5, atol=0)  # 1e-4 dB


def test_round_trip_returns_the_unit() -> None:
    unit = torch.linspace(-0.999, 1, 500)
    returned = amplitude_to_unit(unit_to_amplitude(unit, FLOOR, CEIL), FLOOR, CEIL)
    torch.testing.assert_close(returned, unit, rtol=0, atol=1e-6)


@pytest.mark.parametrize("floor_db", FLOORS)
def test_silence_is_exactly_minus_one_and_comes_back_as_exactly_zero(floor_db: float) -> None:
    unit = amplitude_to_unit(torch.zeros(33), floor_db, CEIL)
    assert set(unit.tolist()) == {-1.0}
    assert set(unit_to_amplitude(unit, floor_db, CEIL).tolist()) == {0.0}


@pytest.mark.parametrize("floor_db", FLOORS)
def test_result_never_leaves_its_range(floor_db: float) -> None:
    unit = amplitude_to_unit(torch.logspace(-10, 10, 1001), floor_db, -3.3)
    assert unit.min() == -1
    assert unit.max() <= 1
    assert unit.max() == pytest.approx(1, abs=1e-6)


def test_amplitudes_outside_the_range_are_clamped() -> None:
    amplitude = torch.tensor([0.0, 1e-5, 1e9, torch.inf])
    assert amplitude_to_unit(amplitude, FLOOR, CEIL).tolist() == [-1, -1, 1, 1]


def test_units_outside_the_range_are_clamped() -> None:
    ends = unit_to_amplitude(torch.tensor([-1.5, -1.0, 1.0, 7.0]), FLOOR, CEIL)
    torch.testing.assert_close(ends, torch.tensor([0, 0, 10**0.5, 10**0.5]))


def test_gradient_is_the_derivative_of_the_decibel_within_the_range_and_zero_outside() -> None:
    amplitude = torch.tensor([0.0, 1e-6, 0.01, 0.5, 100.0], requires_grad=True)
    amplitude_to_unit(amplitude, FLOOR, CEIL).sum().backward()
    slope = 2 * 20 / torch.log(torch.tensor(10.0)) / (CEIL - FLOOR)
    expected = torch.tensor([0, 0, slope / 0.01, slope / 0.5, 0])
    assert amplitude.grad is not None
    torch.testing.assert_close(amplitude.grad, expected)


SCALINGS = {
    "db": Scaling("db", FLOOR, CEIL),
    "log1p": Scaling("log1p", ceil_db=CEIL, gain=512),
    "linear": Scaling("linear", ceil_db=CEIL),
}
every_scaling = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)


@every_scaling
def test_scaling_restores_the_amplitude(scaling: Scaling) -> None:
    amplitude = amplitudes()
    returned = scaling.to_amplitude(scaling.to_unit(amplitude))
    # Rounding is relative to the ceiling for log1p and linear, and relative to the amplitude for decibels.
    torch.testing.assert_close(returned, amplitude, rtol=1e-5, atol=0 if scaling.kind == "db" else 1e-6)


@every_scaling
def test_scaling_restores_the_unit(scaling: Scaling) -> None:
    unit = torch.linspace(-0.999, 1, 500)
    torch.testing.assert_close(scaling.to_unit(scaling.to_amplitude(unit)), unit, rtol=0, atol=2e-6)


@every_scaling
def test_scaling_is_exact_to_rounding_in_double_precision(scaling: Scaling) -> None:
    amplitude = amplitudes().double()
    torch.testing.assert_close(scaling.to_amplitude(scaling.to_unit(amplitude)), amplitude, rtol=1e-12, atol=1e-14)


@every_scaling
def test_scaling_rises_from_minus_one_in_silence_to_one_at_the_ceiling_and_beyond(scaling: Scaling) -> None:
    unit = scaling.to_unit(torch.cat([torch.zeros(1), amplitudes(), torch.tensor([10**0.5, 1e9])]))
    assert (unit.diff() >= 0).all()
    assert unit[0] == -1
    assert unit[1:-2].unique().numel() == 500
    torch.testing.assert_close(unit[-2:], torch.ones(2), rtol=0, atol=1e-6)
    assert unit.max() <= 1


@every_scaling
def test_scaling_clamps_units_outside_the_range(scaling: Scaling) -> None:
    ends = scaling.to_amplitude(torch.tensor([-1.5, -1.0, 1.0, 7.0]))
    assert ends[:2].tolist() == [0, 0]
    torch.testing.assert_close(ends[2:], torch.full((2,), 10**0.5), rtol=1e-5, atol=0)


@every_scaling
def test_scaling_gradient_matches_finite_differences(scaling: Scaling) -> None:
    amplitude = torch.tensor([0.001, 0.1, 1.0, 3.0, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scaling.to_unit, amplitude)


def test_log1p_and_linear_match_numpy() -> None:
    amplitude = amplitudes()
    log1p = 2 * np.log1p(512 * amplitude.numpy()) / np.log1p(512 * 10**0.5) - 1
    torch.testing.assert_close(SCALINGS["log1p"].to_unit(amplitude), torch.from_numpy(log1p).float(), rtol=0, atol=1e-6)
    linear = 2 * amplitude / 10**0.5 - 1
    torch.testing.assert_close(SCALINGS["linear"].to_unit(amplitude), linear, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "power"}, "scale must be db, log1p, linear, got 'power'"),
        ({"floor_db": 0.0, "ceil_db": -1.0}, "floor_db must be below ceil_db, got 0.0 and -1.0"),
        ({"kind": "log1p", "gain": 0.0}, "the gain of log1p must be above 0, got 0.0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scaling(**options)
