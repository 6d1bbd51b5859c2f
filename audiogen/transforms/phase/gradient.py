"""Gradient inversion: the waveform itself is optimised until its spectrogram is the wanted one.

The inversion of the MelGAN-VC code (2,000 steps of Adam on an L1 distance), from a sound that another method made
instead of noise: where all is below the floor of a scale, nothing has a gradient. It needs no inverse of the analysis,
so it works on any representation, and comes closest to what the representation says, though not always to the sound
behind it.
"""

import torch
from torch import Tensor

from audiogen.transforms.phase.griffin_lim import MAX_ITERATIONS, GriffinLim
from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend


class GradientInversion(PhaseMethod):
    """Optimise the waveform against the representation by Adam.

    Args:
        num_steps: Of one forward and one backward pass each, at most 10,000.
        learning_rate: Of the first step, relative to each channel's level; it falls to 0 along a half cosine. With
            twice as much, spectra come closer and MFCCs do not.
        start: The method that makes the first sound; 32 iterations of fast Griffin-Lim by default.

    Raises:
        ValueError: For values out of range.
    """

    def __init__(self, num_steps: int = 200, learning_rate: float = 0.01, start: PhaseMethod | None = None) -> None:
        if num_steps < 0 or learning_rate <= 0:
            raise ValueError(f"need num_steps >= 0 and learning_rate > 0, got {num_steps} and {learning_rate}")
        if num_steps > MAX_ITERATIONS:
            raise ValueError(f"num_steps must be at most {MAX_ITERATIONS}, got {num_steps}")
        self.num_steps, self.learning_rate = num_steps, learning_rate
        self.start = start or GriffinLim()
        self.needs_linear_frequency = self.start.needs_linear_frequency

    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; see `PhaseMethod`."""
        with torch.no_grad():
            first = self.start(transform, spec, prefix)
        # Inference mode has no gradients, whatever is enabled in it.
        with torch.inference_mode(False), torch.enable_grad():
            target = spec.detach().clamp(-1, 1)
            # Adam's steps are of one size whatever the gradient: in units of the level they suit quiet sounds too.
            level = first.square().mean(dim=2, keepdim=True).sqrt().clamp_min(torch.finfo(first.dtype).tiny)
            unit = (first / level).requires_grad_()
            optimizer = torch.optim.Adam([unit], lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(self.num_steps, 1))
            for _ in range(self.num_steps):
                optimizer.zero_grad()
                # The sum, of which a clip's gradient does not depend on its batch, nor a channel's on the other.
                (transform(blend(unit * level, prefix)) - target).abs().sum().backward()
                optimizer.step()
                schedule.step()
        return blend(unit.detach() * level, prefix)
