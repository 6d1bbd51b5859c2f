"""The moving average follows the weights with the configured half-life."""

import pytest
import torch
from torch import nn

from audiogen.networks.averaging import average_decay, update_average


def test_average_moves_parameters_and_copies_buffers() -> None:
    average, source = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(source.weight, 3.0)
    source.running_mean.fill_(5.0)
    source.num_batches_tracked.fill_(7)
    update_average(average, source, decay=0.75)
    assert torch.allclose(average.weight, torch.tensor(0.75 * 1 + 0.25 * 3))
    assert torch.equal(average.running_mean, source.running_mean)
    assert average.num_batches_tracked == 7


def test_a_weight_halves_after_the_half_life() -> None:
    steps = [average_decay(20, 10_000, half_life_kimg=2.0, ramp_up=None) for _ in range(100)]
    assert torch.tensor(steps, dtype=torch.float64).prod().item() == pytest.approx(0.5)


def test_ramp_up_shortens_the_half_life_early_on() -> None:
    assert average_decay(10, 0, 1.0, ramp_up=0.05) == 0.0
    assert average_decay(10, 1000, 1.0, ramp_up=0.05) == pytest.approx(0.5 ** (10 / 50))
    assert average_decay(10, 10**9, 1.0, ramp_up=0.05) == average_decay(10, 0, 1.0, ramp_up=None)
