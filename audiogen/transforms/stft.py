"""Convert waveforms to linear-frequency spectrograms and back.

Amplitudes are relative to full scale: the STFT is divided by half the sum of its window, so that a full-scale sine has
magnitude 1 (0 dB) at its frequency.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.transforms.analysis import STFTAnalysis
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.scaling import Scale, Scaling
from audiogen.transforms.transform import MAX_FFT, SpectrogramTransform


class STFT(SpectrogramTransform):
    """Magnitudes of the short-time Fourier transform.

    Args:
        sample_rate: Sample rate in Hz.
        n_fft: FFT length in samples.
        hop_length: Hop in samples, at most half the window.
        num_frames: L; a clip has num_frames * hop_length samples.
        num_bins: F, the number of bins kept, from 0 Hz up; None keeps all n_fft / 2 + 1. n_fft / 2 drops the bin at
            half the sample rate, for networks that need even sizes.
        num_channels: C, of the waveform and the spectrogram.
        win_length: Length of the Hann window, centred in the FFT; None uses n_fft.
        scale: Amplitude scale: "db", "log1p" (Jain & Raj, 2019; Lin, 2021; Huzaifah & Wyse, 2020) or "linear".
        floor_db: Level mapped to -1 (scale "db"), in dB relative to full scale.
        ceil_db: Level mapped to 1, in dB relative to full scale.
        phase: Phase method of the inverse; None uses 32 iterations of fast Griffin-Lim.

    Raises:
        ValueError: If `num_bins` exceeds n_fft / 2 + 1, or as in `check_window`, `SpectrogramTransform` and `Scaling`.
    """

    def __init__(
        self,
        sample_rate: int = 22050,
        n_fft: int = 2048,
        hop_length: int = 512,
        num_frames: int = 64,
        num_bins: int | None = None,
        num_channels: int = 1,
        win_length: int | None = None,
        scale: Scale = "db",
        floor_db: float = -80.0,
        ceil_db: float = 10.0,
        phase: PhaseMethod | None = None,
    ) -> None:
        check_window(n_fft, win_length, hop_length)
        all_bins = n_fft // 2 + 1
        num_bins = all_bins if num_bins is None else num_bins
        super().__init__(sample_rate, hop_length, (num_channels, num_bins, num_frames), phase)
        if num_bins > all_bins:
            raise ValueError(f"num_bins must be at most n_fft / 2 + 1 = {all_bins}, got {num_bins}")
        window = padded_hann_window(n_fft, win_length)
        self.scaling = Scaling(scale, floor_db, ceil_db, gain=float(window.sum()) / 2)
        self.register_buffer("window", window, persistent=False)
        self.window: Tensor

    def forward(self, wav: Tensor) -> Tensor:
        """Turn a waveform into the scaled magnitudes of its STFT.

        Inverse: `inverse`. Lost: the phase, bins from num_bins up, and levels outside the range of the scale.

        Args:
            wav: float [B, C, T], full scale is [-1, 1].

        Returns:
            spec, float [B, C, F, L] in [-1, 1]; silence is -1.

        Raises:
            ValueError: If `wav` has another shape.
        """
        amplitude = self.analyse(wav)[..., : self.shape[1]].abs()  # [B C, L, F]
        return self.scaling.to_unit(amplitude.transpose(1, 2)).unflatten(0, wav.shape[:2])

    def analysis(self, num_frames: int) -> STFTAnalysis:
        """Return the STFT of waveforms of `num_frames` hops."""
        return STFTAnalysis(self.window, self.hop_length, num_frames)

    def amplitude(self, spec: Tensor) -> Tensor:
        """Return the magnitudes of spec [N, F, L], float [N, L, K]; bins that were dropped are 0."""
        kept = self.scaling.to_amplitude(spec).transpose(1, 2)
        return F.pad(kept, (0, len(self.window) // 2 + 1 - kept.shape[2]))

    def frequencies(self) -> Tensor:
        """Return the frequency of each bin in Hz, float [F]."""
        return torch.arange(self.shape[1]) * self.sample_rate / len(self.window)


def check_window(n_fft: int, win_length: int | None, hop_length: int) -> None:
    """Check that a window fits its FFT and that hops leave no gaps between windows.

    Raises:
        ValueError: If `n_fft` is odd, below 2 or above 65,536; `win_length` is outside [2, n_fft]; or `hop_length` is
            not positive or exceeds half the window.
    """
    if n_fft < 2 or n_fft % 2:
        raise ValueError(f"n_fft must be even, got {n_fft}")
    if n_fft > MAX_FFT:
        raise ValueError(f"n_fft must be at most {MAX_FFT}, got {n_fft}")
    if win_length is not None and not 2 <= win_length <= n_fft:
        raise ValueError(f"win_length must be in 2 ... n_fft = {n_fft}, got {win_length}")
    name, length = ("n_fft", n_fft) if win_length is None else ("win_length", win_length)
    if not 0 < hop_length <= length // 2:
        raise ValueError(f"hop_length must be in 1 ... {name} / 2 = {length // 2}, got {hop_length}")


def padded_hann_window(n_fft: int, win_length: int | None) -> Tensor:
    """Return a Hann window centred in zeros, float [n_fft]."""
    window = torch.hann_window(win_length or n_fft)
    left = (n_fft - len(window)) // 2
    return F.pad(window, (left, n_fft - len(window) - left))
