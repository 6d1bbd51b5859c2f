"""Single-pass spectrogram inversion: phases that advance with the frequency of the nearest peak.

Beauregard, Harish & Wyse (2015). Each bin belongs to the peak that its slope leads up to. From the centre of one frame
to that of the next, the phase of a peak advances by its frequency, interpolated between bins; around a peak, phases are
those of one sine under a window, which turn by pi from bin to bin. Two deviations from the paper: the frequency is the
mean of both frames', which follows glides, and the parabola through a peak's bins is fitted to logarithms, which makes
the spectrum of a sine three times as exact.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend


class SPSI(PhaseMethod):
    """Guess the phases in a single pass: the fastest method; for the best one, let Griffin-Lim start from it."""

    needs_linear_frequency = True

    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; see `PhaseMethod`.

        A known beginning is faded into what is guessed, whose phases do not go on from it.
        """
        amplitude, analysis = transform.target(spec)
        spectrum = torch.polar(amplitude, spsi_phase(amplitude, transform.hop_length))
        return blend(analysis.to_wav(spectrum).unflatten(0, spec.shape[:2]), prefix)


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
    step = math.pi * frequency * (hop_length / n_fft)  # half a hop's
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
        peak = peak.gather(2, peak)  # twice as far uphill each time
    tiny = torch.finfo(amplitude.dtype).tiny
    left, middle, right = (bin.clamp_min(tiny).log() for bin in (left, amplitude, right))
    offset = ((right - left) / (2 * (2 * middle - left - right).clamp_min(tiny))).clamp(-0.5, 0.5)
    return peak, (bins + offset).gather(2, peak)
