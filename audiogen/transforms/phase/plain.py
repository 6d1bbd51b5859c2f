"""Invert magnitudes without phase reconstruction (Jain & Raj, 2019, who prefer the sound of Griffin-Lim)."""

import torch
from torch import Tensor

from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend


class ZeroPhase(PhaseMethod):
    """Set all phases to 0 at the centre of each frame: one synthesis. The result buzzes at the frame rate."""

    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; see `PhaseMethod`."""
        amplitude, analysis = transform.target(spec)
        phase = torch.zeros_like(amplitude)
        if transform.linear_frequency:
            phase[..., 1::2] = torch.pi  # an impulse mid-frame, with phases relative to the frame's start
        return blend(analysis.to_wav(torch.polar(amplitude, phase)).unflatten(0, spec.shape[:2]), prefix)
