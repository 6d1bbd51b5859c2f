"""Single-pass spectrogram inversion: phases that advance with the frequency of the nearest peak.

Beauregard, Harish & Wyse (2015). Each bin belongs to the peak that its slope leads up to. Between two frames, the phase
of a peak at the centre of the frame advances by its frequency, interpolated between bins; around a peak, phases are
those of one sine under a window, which turn by pi from bin to bin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.transforms.phase.method import PhaseMethod

if TYPE_CHECKING:
    from audiogen.transforms.transform import SpectrogramTransform


class SPSI(PhaseMethod):
    """Guess the phases in a single pass: the fastest method; for the best one, let Griffin-Lim start from it."""

    needs_linear_frequency = True

    def __call__(self, transform: SpectrogramTransform, spec: Tensor) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]."""
        amplitude, frames = transform.target(spec)
        spectrum = torch.polar(amplitude, spsi_phase(amplitude, transform.hop_length))
        return frames.to_wav(spectrum).unflatten(0, spec.shape[:2])


def spsi_phase(amplitude: Tensor, hop_length: int) -> Tensor:
    """Guess the phases of an STFT.

    Args:
        amplitude: float [N, L, K] with K = n_fft / 2 + 1.
        hop_length: In samples.

    Returns:
        Phases in radians, relative to the start of each frame, float [N, L, K].
    """
    n_fft = 2 * (amplitude.shape[2] - 1)
    peak, frequency = _peaks(amplitude)  # [N, L, K]
    advance = 2 * math.pi * frequency * (hop_length / n_fft)
    centre = torch.zeros_like(amplitude[:, 0])  # [N, K], phase of each bin's peak at the centre of the frame
    phases = []
    for frame in range(amplitude.shape[1]):
        centre = (centre.gather(1, peak[:, frame]) + advance[:, frame]) % (2 * math.pi)
        phases.append(centre)
    turn = frequency - torch.arange(amplitude.shape[2], device=amplitude.device)
    return torch.stack(phases, dim=1) + math.pi * turn


def _peaks(amplitude: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of each bin's peak, int64 [N, L, K], and that peak's frequency in bins, float [N, L, K]."""
    left = F.pad(amplitude, (1, 0))[..., :-1]
    right = F.pad(amplitude, (0, 1))[..., 1:]
    bins = torch.arange(amplitude.shape[2], device=amplitude.device).expand(amplitude.shape)
    uphill = torch.where(right > left, bins + 1, bins - 1)
    peak = torch.where(torch.maximum(left, right) > amplitude, uphill, bins)
    for _ in range(math.ceil(math.log2(amplitude.shape[2]))):
        peak = peak.gather(2, peak)  # twice as far uphill each time
    curvature = (2 * amplitude - left - right).clamp_min(torch.finfo(amplitude.dtype).tiny)
    offset = ((right - left) / (2 * curvature)).clamp(-0.5, 0.5)  # of the parabola through three bins
    return peak, (bins + offset).gather(2, peak)
