"""Griffin-Lim with momentum, batched and on the device of its input.

Griffin & Lim (1984); momentum after Perraudin, Balazs & Sondergaard (2013), 0.99 as in librosa. Unlike torchaudio's
version, the start phases are the same for every clip, so that a clip sounds the same whatever batch it is in.
Spectra are kept frame by frame, as FFTs return them: `torch.stft` and `torch.istft` spend half of the time rearranging.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

START_SEED = 0
CPU_BATCH = 16  # clips at a time: their spectra stay in the cache


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
    frames = _Frames(window, hop_length, magnitude.shape[2], num_samples)
    phase = _start_phase(magnitude)
    parts = magnitude.transpose(1, 2).split(CPU_BATCH if magnitude.device.type == "cpu" else len(magnitude))
    return torch.cat([_iterate(part.contiguous(), phase, frames, num_iterations, momentum) for part in parts])


def _iterate(magnitude: Tensor, phase: Tensor, frames: "_Frames", num_iterations: int, momentum: float) -> Tensor:
    """Return wav, float [N, T], of magnitude [N, L, K] and start phases [L, K]."""
    tiny = torch.finfo(magnitude.dtype).tiny ** 0.5
    weight = momentum / (1 + momentum)
    spectrum = torch.polar(magnitude, phase.expand_as(magnitude))
    previous = torch.zeros_like(spectrum)
    for _ in range(num_iterations):
        rebuilt = frames.analyse(frames.synthesise(spectrum))
        step = torch.sub(rebuilt, previous, alpha=weight)
        spectrum = step.mul_(magnitude / step.abs().clamp_min_(tiny))
        previous = rebuilt
    return frames.crop(frames.synthesise(spectrum))


class _Frames:
    """Centred STFT and its least-squares inverse on waveforms that carry half a window of padding at both ends."""

    def __init__(self, window: Tensor, hop_length: int, num_frames: int, num_samples: int) -> None:
        self.window, self.hop_length, self.num_samples = window, hop_length, num_samples
        self.n_fft = len(window)
        self.blocks = -(-self.n_fft // hop_length)  # hops that a frame reaches over
        envelope = self._overlap_add(window.square().expand(1, num_frames, -1))
        inside = torch.zeros_like(envelope)
        self.crop(inside).fill_(1)
        # Outside the clip there is silence, as in the forward transform.
        self.gain = inside / envelope.clamp_min(torch.finfo(window.dtype).tiny ** 0.5)

    def analyse(self, padded: Tensor) -> Tensor:
        """Turn a padded waveform, float [N, P], into its spectrum, complex [N, L, K]."""
        return torch.fft.rfft(padded.unfold(1, self.n_fft, self.hop_length) * self.window)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Turn a spectrum, complex [N, L, K], into a padded waveform, float [N, P]."""
        return self._overlap_add(torch.fft.irfft(spectrum, self.n_fft).mul_(self.window)).mul_(self.gain)

    def crop(self, padded: Tensor) -> Tensor:
        """Return the view of a padded waveform, float [N, P], that is the clip, [N, T]."""
        return padded[:, self.n_fft // 2 : self.n_fft // 2 + self.num_samples]

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Sum frames, float [N, L, n_fft], each one hop after the one before, to [N, P]."""
        hop, num_frames = self.hop_length, frames.shape[1]
        frames = F.pad(frames, (0, self.blocks * hop - self.n_fft)).unflatten(2, (self.blocks, hop))
        padded = frames.new_zeros(len(frames), num_frames + self.blocks - 1, hop)
        for block in range(self.blocks):
            padded[:, block : block + num_frames] += frames[:, :, block]
        return padded.flatten(1)[:, : (num_frames - 1) * hop + self.n_fft]


def _start_phase(magnitude: Tensor) -> Tensor:
    """Return uniform random phases in [0, 2 pi), one set for all clips, float [L, K], for magnitude [N, K, L]."""
    generator = torch.Generator().manual_seed(START_SEED)  # on the CPU: the same on every device
    return (2 * torch.pi * torch.rand(magnitude.shape[1:], generator=generator)).T.contiguous().to(magnitude)
