"""Griffin-Lim with momentum, batched and on the device of its input.

Griffin & Lim (1984); momentum after Perraudin, Balazs & Sondergaard (2013), 0.99 as in librosa. Unlike torchaudio's
version, the start phases are the same for every clip, so that a clip sounds the same whatever batch it is in.
"""

import torch
from torch import Tensor

START_SEED = 0


def griffin_lim(
    magnitude: Tensor, window: Tensor, hop_length: int, num_samples: int, num_iterations: int, momentum: float = 0.99
) -> Tensor:
    """Find a waveform whose STFT has the given magnitude.

    Args:
        magnitude: float [N, n_fft // 2 + 1, L], of a centred STFT with zero padding, not normalised.
        window: float [n_fft].
        hop_length: In samples.
        num_samples: T of the result.
        num_iterations: Of one inverse and one forward STFT each.
        momentum: 0 is the classic algorithm.

    Returns:
        wav, float [N, T].
    """
    n_fft = len(window)

    def synthesise(spectrum: Tensor) -> Tensor:
        return torch.istft(spectrum, n_fft, hop_length, window=window, length=num_samples)

    spectrum = torch.polar(magnitude, _start_phase(magnitude))
    previous: Tensor | float = 0.0
    for _ in range(num_iterations):
        wav = synthesise(spectrum)
        rebuilt = torch.stft(wav, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)
        step = rebuilt - momentum / (1 + momentum) * previous
        spectrum = magnitude * step / step.abs().clamp_min(torch.finfo(magnitude.dtype).tiny)
        previous = rebuilt
    return synthesise(spectrum)


def _start_phase(magnitude: Tensor) -> Tensor:
    """Return uniform random phases in [0, 2 pi), one set for all clips, float [N, K, L]."""
    generator = torch.Generator().manual_seed(START_SEED)  # on the CPU: the same on every device
    phase = 2 * torch.pi * torch.rand(magnitude.shape[1:], generator=generator)
    return phase.to(magnitude).expand_as(magnitude)
