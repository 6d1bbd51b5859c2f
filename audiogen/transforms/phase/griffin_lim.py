"""Reconstruct phases by Griffin-Lim with momentum, batched and on the device of the input.

Sources: Griffin & Lim (1984); momentum by Perraudin et al. (2013), with librosa's default of 0.99. Deviations from
torchaudio: every clip starts from the same phases, so its result does not depend on the batch, and any invertible
analysis can be used, not only an STFT.
"""

from typing import Literal

import torch
from torch import Tensor

from audiogen.transforms.analysis import Analysis
from audiogen.transforms.phase.method import InvertibleTransform, PhaseMethod, blend
from audiogen.transforms.phase.spsi import spsi_phase

START_SEED = 0
MAX_ITERATIONS = 10_000  # untrusted checkpoints choose the number too
CPU_BATCH = 16  # clips processed at a time on a CPU, so that their spectra fit its cache


class GriffinLim(PhaseMethod):
    """Alternate between imposing the given magnitudes and projecting onto spectra of real waveforms.

    Args:
        num_iterations: Number of iterations, each one synthesis and one analysis; 0 to 10,000.
        momentum: Weight of the previous iteration, in [0, 1): 0 is the classic algorithm, 0.99 the fast one.
        start: Initial phases: "random", or "spsi" (requires an STFT).

    Raises:
        ValueError: If `num_iterations` is outside [0, 10,000], `momentum` outside [0, 1) or `start` unknown.
    """

    def __init__(
        self, num_iterations: int = 32, momentum: float = 0.99, start: Literal["random", "spsi"] = "random"
    ) -> None:
        if num_iterations < 0 or not 0 <= momentum < 1 or start not in ("random", "spsi"):
            raise ValueError(
                "need num_iterations >= 0, momentum in [0, 1) and start random or spsi, got "
                f"{num_iterations}, {momentum} and {start!r}"
            )
        if num_iterations > MAX_ITERATIONS:
            raise ValueError(f"num_iterations must be at most {MAX_ITERATIONS}, got {num_iterations}")
        self.num_iterations, self.momentum, self.start = num_iterations, momentum, start
        self.needs_linear_frequency = start == "spsi"

    def __call__(self, transform: InvertibleTransform, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn spec, float [B, C, F, L], into wav, float [B, C, T]; see `PhaseMethod`."""
        amplitude, analysis = transform.target(spec)
        spsi = self.start == "spsi"
        phase = spsi_phase(amplitude, transform.hop_length) if spsi else random_phase(amplitude)
        start = None if prefix is None else prefix.flatten(0, 1)
        wav = griffin_lim(amplitude, phase, analysis, self.num_iterations, self.momentum, start)
        return wav.unflatten(0, spec.shape[:2])


def griffin_lim(
    amplitude: Tensor,
    phase: Tensor,
    analysis: Analysis,
    num_iterations: int,
    momentum: float,
    prefix: Tensor | None = None,
) -> Tensor:
    """Find waveforms whose spectra have the given magnitudes.

    Args:
        amplitude: Magnitudes, float [N, L, K].
        phase: Initial phases in radians, float [N or 1, L, K].
        analysis: Analysis of waveforms of L - 1 hops.
        num_iterations: Number of iterations, each one synthesis and one analysis.
        momentum: Weight of the previous iteration, in [0, 1).
        prefix: Known beginnings of the waveforms, float [N, T'], restored in every iteration.

    Returns:
        wav, float [N, T].
    """
    num = CPU_BATCH if amplitude.device.type == "cpu" else max(len(amplitude), 1)
    beginnings = [None] * -(-len(amplitude) // num) if prefix is None else prefix.split(num)
    parts = zip(amplitude.split(num), phase.expand_as(amplitude).split(num), beginnings, strict=True)
    return torch.cat([_iterate(torch.polar(a, p), a, analysis, num_iterations, momentum, k) for a, p, k in parts])


def random_phase(amplitude: Tensor) -> Tensor:
    """Return uniform random phases in [0, 2 pi), shared by all clips, float [1, L, K], for amplitudes [N, L, K]."""
    generator = torch.Generator().manual_seed(START_SEED)  # on the CPU, so that every device gets the same phases
    phase = 2 * torch.pi * torch.rand(amplitude.shape[:0:-1], generator=generator)  # [K, L]
    return phase.T.contiguous().to(amplitude)[None]


def _iterate(
    spectrum: Tensor, amplitude: Tensor, analysis: Analysis, num_iterations: int, momentum: float, prefix: Tensor | None
) -> Tensor:
    """Return wav, float [N, T], iterating from an initial spectrum, complex [N, L, K]."""
    tiny = torch.finfo(amplitude.dtype).tiny ** 0.5
    weight = momentum / (1 + momentum)
    previous = torch.zeros_like(spectrum)
    for _ in range(num_iterations):
        padded = analysis.synthesise(spectrum)
        if prefix is not None:
            beginning = analysis.crop(padded)[:, : prefix.shape[1]]
            beginning.copy_(blend(beginning, prefix))
        rebuilt = analysis.analyse(padded)
        step = torch.sub(rebuilt, previous, alpha=weight)
        spectrum = step.mul_(amplitude / step.abs().clamp_min_(tiny))
        previous = rebuilt
    return blend(analysis.to_wav(spectrum), prefix)
