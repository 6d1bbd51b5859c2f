"""The plain inverse: no phases are looked for (Jain & Raj, 2019, who found Griffin-Lim to sound better)."""

import torch
from torch import Tensor

from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend


class ZeroPhase(PhaseMethod):
    """Take all phases to be 0 at the centre of each frame: one synthesis, which buzzes at the rate of the frames."""

    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; see `PhaseMethod`."""
        amplitude, analysis = transform.target(spec)
        phase = torch.zeros_like(amplitude)
        if transform.linear_frequency:
            phase[..., 1::2] = torch.pi  # of an impulse in the middle of the frame, relative to the frame's start
        return blend(analysis.to_wav(torch.polar(amplitude, phase)).unflatten(0, spec.shape[:2]), prefix)
