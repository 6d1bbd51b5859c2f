"""Estimate phases in a single pass by advancing them at the frequency of the nearest peak.

Source: Beauregard et al. (2015). Each bin belongs to the peak at the top of its slope. From one frame's centre to the
next, a peak's phase advances by its frequency, interpolated between bins. Around a peak, phases equal those of a
windowed sine, which differ by pi from bin to bin.

Deviations: the frequency is the mean over both frames, which follows glides; and the parabola through a peak's bins is
fitted to log magnitudes, which reduces the error of a sine's spectrum to a third.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend


class SPSI(PhaseMethod):
    """Estimate phases in a single pass: the fastest method. Griffin-Lim started from it gives the best results."""

    needs_linear_frequency = True

    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; see `PhaseMethod`.

        A prefix is faded into the result, but the estimated phases do not continue it.
        """
        amplitude, analysis = transform.target(spec)
        spectrum = torch.polar(amplitude, spsi_phase(amplitude, transform.hop_length))
        return blend(analysis.to_wav(spectrum).unflatten(0, spec.shape[:2]), prefix)


def spsi_phase(amplitude: Tensor, hop_length: int) -> Tensor:
    """Estimate the phases of an STFT.

    Args:
        amplitude: Magnitudes, float [N, L, K] with K = n_fft / 2 + 1.
        hop_length: Hop in samples.

    Returns:
        Phases in radians, relative to the start of each frame, float [N, L, K].
    """
    n_fft = 2 * (amplitude.shape[2] - 1)
    peak, frequency = _peaks(amplitude)  # [N, L, K]
    step = math.pi * frequency * (hop_length / n_fft)  # phase advance over half a hop
    phase, last_step = torch.zeros_like(amplitude[:, 0]), step[:, 0]  # [N, K], of each bin's peak
    centres = []
    for frame in range(amplitude.shape[1]):
        phase = ((phase + last_step).gather(1, peak[:, frame]) + step[:, frame]) % (2 * math.pi)
        last_step = step[:, frame]
        centres.append(phase)
    return torch.stack(centres, dim=1) - math.pi * torch.arange(amplitude.shape[2], device=amplitude.device)


def _peaks(amplitude: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of each bin's peak, int64 [N, L, K], and that peak's frequency in bins, float [N, L, K]."""
    left = F.pad(amplitude, (1, 0))[..., :-1]
    right = F.pad(amplitude, (0, 1))[..., 1:]
    bins = torch.arange(amplitude.shape[2], device=amplitude.device).expand(amplitude.shape)
    uphill = torch.where(right > left, bins + 1, bins - 1)
    peak = torch.where(torch.maximum(left, right) > amplitude, uphill, bins)
    for _ in range(math.ceil(math.log2(amplitude.shape[2]))):
        peak = peak.gather(2, peak)  # doubles the distance covered uphill
    tiny = torch.finfo(amplitude.dtype).tiny
    left, middle, right = (bin.clamp_min(tiny).log() for bin in (left, amplitude, right))
    offset = ((right - left) / (2 * (2 * middle - left - right).clamp_min(tiny))).clamp(-0.5, 0.5)
    return peak, (bins + offset).gather(2, peak)
