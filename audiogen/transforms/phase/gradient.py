"""Optimise a waveform by gradient descent until it has the given spectrogram.

Source: the inversion in the MelGAN-VC code (2,000 Adam steps on an L1 distance). Deviation: it starts from another
method's result instead of noise, because values below the floor of the scale have no gradient.

The method needs no inverse of the analysis, so it works with any representation. It comes closest to the spectrogram
itself, though not always to the original sound.
"""

import torch
from torch import Tensor

from audiogen.transforms.phase.griffin_lim import MAX_ITERATIONS, GriffinLim
from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend


class GradientInversion(PhaseMethod):
    """Optimise the waveform with Adam on the L1 distance between its spectrogram and the given one.

    Args:
        num_steps: Number of optimisation steps, each one forward and one backward pass; 0 to 10,000.
        learning_rate: Initial learning rate relative to each channel's RMS level, > 0; decays to 0 along a half cosine.
            Twice the default brings spectra closer, but not MFCCs.
        start: Phase method for the initial waveform; None uses 32 iterations of fast Griffin-Lim.

    Raises:
        ValueError: If `num_steps` is outside [0, 10,000] or `learning_rate` is not positive.
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
        # Inference mode never records gradients, even with enable_grad.
        with torch.inference_mode(False), torch.enable_grad():
            target = spec.detach().clamp(-1, 1)
            # Adam's step size is independent of the gradient, so optimise in units of the level to suit quiet sounds.
            level = first.square().mean(dim=2, keepdim=True).sqrt().clamp_min(torch.finfo(first.dtype).tiny)
            unit = (first / level).requires_grad_()
            optimizer = torch.optim.Adam([unit], lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(self.num_steps, 1))
            for _ in range(self.num_steps):
                optimizer.zero_grad()
                # With the sum, a clip's gradient does not depend on its batch, nor a channel's on other channels.
                (transform(blend(unit * level, prefix)) - target).abs().sum().backward()
                optimizer.step()
                schedule.step()
        return blend(unit.detach() * level, prefix)
