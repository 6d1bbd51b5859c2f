"""Analyse waveforms into complex time-frequency spectra and synthesise them back: the linear part of a spectrogram.

Spectra are stored frame by frame, complex [N, L, K], as FFTs return them. `torch.stft` and `torch.istft` transpose
them, which takes half the time of a Griffin-Lim iteration.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor


class Analysis(ABC):
    """A linear analysis of waveforms of one fixed length, and its inverse.

    Frames are centred at multiples of the hop; the last one is centred at the end of the waveform. Waveforms are padded
    with silence at both ends before the analysis.

    Attributes:
        num_samples: T, the length of a waveform in samples.
        margin: Samples of padding at each end, so P = T + 2 * margin.
    """

    num_samples: int
    margin: int

    @abstractmethod
    def analyse(self, padded: Tensor) -> Tensor:
        """Turn padded waveforms, float [N, P], into spectra, complex [N, L, K]. A full-scale sine has magnitude 1."""

    @abstractmethod
    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Turn spectra, complex [N, L, K], into padded waveforms, float [N, P], in the least-squares sense."""

    def to_wav(self, spectrum: Tensor) -> Tensor:
        """Turn spectra, complex [N, L, K], into waveforms, float [N, T]."""
        return self.crop(self.synthesise(spectrum))

    def pad(self, wav: Tensor) -> Tensor:
        """Pad waveforms, float [N, T], to [N, P]."""
        return F.pad(wav, (self.margin, self.margin))

    def crop(self, padded: Tensor) -> Tensor:
        """Return the part of padded waveforms, float [N, P], inside the padding, as a view, float [N, T]."""
        return padded[:, self.margin : self.margin + self.num_samples]


class STFTAnalysis(Analysis):
    """Short-time Fourier transform and its least-squares inverse (Griffin & Lim, 1984).

    Args:
        window: Window, float [n_fft].
        hop_length: Hop in samples.
        num_frames: Length of the waveforms in hops; spectra have one frame more.
    """

    def __init__(self, window: Tensor, hop_length: int, num_frames: int) -> None:
        self.window = window / (window.sum() / 2)
        self.hop_length, self.n_fft = hop_length, len(window)
        self.num_frames, self.num_samples, self.margin = num_frames, num_frames * hop_length, self.n_fft // 2

    def analyse(self, padded: Tensor) -> Tensor:
        """Turn padded waveforms, float [N, P], into spectra, complex [N, L, n_fft // 2 + 1]."""
        return torch.fft.rfft(padded.unfold(1, self.n_fft, self.hop_length) * self.window)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Turn spectra, complex [N, L, n_fft // 2 + 1], into padded waveforms, float [N, P]."""
        return overlap_add(torch.fft.irfft(spectrum, self.n_fft) * self.window, self.hop_length) * self.gain

    @cached_property
    def gain(self) -> Tensor:
        """Reciprocal of the overlap-added squared windows, float [1, P]; 0 in the padding."""
        envelope = overlap_add(self.window.square().expand(1, self.num_frames + 1, -1), self.hop_length)
        inside = torch.zeros_like(envelope)
        self.crop(inside).fill_(1)
        return inside / envelope.clamp_min(1e-6 * envelope.max())


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Sum frames, each one hop after the one before.

    Args:
        frames: float [N, L, n].
        hop_length: In samples.

    Returns:
        float [N, (L - 1) * hop_length + n].

    Example:
        >>> overlap_add(torch.ones(1, 3, 2), hop_length=1)
        tensor([[1., 2., 2., 1.]])
    """
    num_frames, n = frames.shape[1:]
    blocks = -(-n // hop_length)  # hops that a frame reaches over
    frames = F.pad(frames, (0, blocks * hop_length - n)).unflatten(2, (blocks, hop_length))
    total = frames.new_zeros(len(frames), num_frames + blocks - 1, hop_length)
    for block in range(blocks):
        total[:, block : block + num_frames] += frames[:, :, block]
    return total.flatten(1)[:, : (num_frames - 1) * hop_length + n]
