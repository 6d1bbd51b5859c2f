"""Correlations of onsets and pitch, for a melody and changed versions of it."""

import math

import numpy as np
import torch

from audiogen.metrics.contours import contour_match
from tests.tiny_transfer import RATE, bursts, melody


def wav(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)[None]


def test_sound_matches_itself() -> None:
    match = contour_match(wav(melody()), wav(melody()), RATE)
    assert math.isclose(match.onsets, 1, abs_tol=1e-6)
    assert math.isclose(match.pitch, 1, abs_tol=1e-6)


def test_transposed_melody_keeps_onsets_and_pitch() -> None:
    time = np.arange(2 * RATE) / RATE
    pitch = 1.5 * np.array([440.0, 550.0, 660.0, 880.0])[(time * 4).astype(int) % 4] / 2
    lower = 0.4 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-8 * (time % 0.25))
    match = contour_match(wav(lower), wav(melody()), RATE)
    assert match.onsets > 0.8
    assert match.pitch > 0.9


def test_different_events_do_not_match() -> None:
    match = contour_match(wav(bursts()), wav(melody()), RATE)
    assert match.onsets < 0.4
    assert math.isnan(match.pitch) or match.pitch < 0.9


def test_only_the_common_duration_is_compared() -> None:
    longer = np.concatenate([melody(), bursts()])
    assert contour_match(wav(longer), wav(melody()), RATE).onsets > 0.99
