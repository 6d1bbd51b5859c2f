"""Convert waveforms to mel spectrograms and back.

Amplitudes are relative to full scale: the STFT is divided by half the sum of its window, so that a full-scale sine has
magnitude 1 (0 dB) at its frequency.
"""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from audiogen.transforms.analysis import STFTAnalysis
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.scaling import Scale, Scaling
from audiogen.transforms.stft import check_window, padded_hann_window
from audiogen.transforms.transform import SpectrogramTransform

MelScale = Literal["slaney", "htk"]
MAX_BANDS = 2048  # checking the rank of this many filters takes seconds


class LogMel(SpectrogramTransform):
    """Log-mel spectrogram with a fixed range, and its inverse by non-negative deconvolution and a phase method.

    Args:
        sample_rate: Sample rate in Hz.
        n_fft: FFT length in samples.
        hop_length: Hop in samples, at most half the window.
        n_mels: F, the number of bands.
        num_frames: L; a clip has num_frames * hop_length samples.
        num_channels: C, of the waveform and the spectrogram.
        win_length: Length of the Hann window, centred in the FFT; None uses n_fft.
        f_min: Lower edge of the lowest band in Hz.
        f_max: Upper edge of the highest band in Hz; None uses half the sample rate.
        mel_scale: Mel scale: "slaney" (librosa's default) or "htk".
        norm: Filter normalization: "slaney" gives all bands the same area, None the same peak of 1. Levels with
            "slaney" are 25 to 40 dB lower, so lower floor_db and ceil_db accordingly.
        power: Exponent of the filtered spectrum: 1 for magnitudes, 2 for powers.
        scale: Scale of the band amplitudes: "db", "log1p" or "linear".
        floor_db: Level mapped to -1 (scale "db"), in dB relative to full scale.
        ceil_db: Level mapped to 1, in dB relative to full scale.
        full_rank: Whether a filter bank that cannot be inverted is an error; if False, it only warns.
        phase: Phase method of the inverse; None uses 32 iterations of fast Griffin-Lim.

    Raises:
        ValueError: If bands are empty or linearly dependent, so that the filter bank cannot be inverted (the message
            suggests an n_fft that works); if `n_mels` exceeds 2048, `power` is not 1 or 2, or the band edges are not
            0 <= f_min < f_max <= sample_rate / 2; or as in `check_window`, `SpectrogramTransform` and `Scaling`.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 128,
        num_frames: int = 64,
        num_channels: int = 1,
        win_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel_scale: MelScale = "slaney",
        norm: Literal["slaney"] | None = None,
        power: Literal[1, 2] = 1,
        scale: Scale = "db",
        floor_db: float = -80.0,
        ceil_db: float = 10.0,
        full_rank: bool = True,
        phase: PhaseMethod | None = None,
    ) -> None:
        check_window(n_fft, win_length, hop_length)
        if n_mels > MAX_BANDS:
            raise ValueError(f"n_mels must be at most {MAX_BANDS}, got {n_mels}")
        super().__init__(sample_rate, hop_length, (num_channels, n_mels, num_frames), phase)
        if power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, got {power}")
        f_max = sample_rate / 2 if f_max is None else f_max
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(f"need 0 <= f_min < f_max <= sample_rate / 2, got {f_min}, {f_max} at {sample_rate} Hz")
        self.power = power
        window = padded_hann_window(n_fft, win_length)
        self.scaling = Scaling(scale, floor_db, ceil_db, gain=float(window.sum()) / 2)
        filters = _checked_filters(n_fft, f_min, f_max, n_mels, sample_rate, norm, mel_scale, full_rank)
        self.register_buffer("filters", filters, persistent=False)  # [F, K]
        self.register_buffer("window", window, persistent=False)
        self.filters: Tensor
        self.window: Tensor

    def forward(self, wav: Tensor) -> Tensor:
        """Turn a waveform into its scaled log-mel spectrogram.

        Inverse: `inverse`. Lost: the phase, detail finer than a band, and levels outside the range of the scale.

        Args:
            wav: float [B, C, T], full scale is [-1, 1].

        Returns:
            spec, float [B, C, F, L] in [-1, 1]; silence is -1.

        Raises:
            ValueError: If `wav` has another shape.
        """
        mel = self.analyse(wav).abs() ** self.power @ self.filters.T  # [B C, L, F]
        tiny = torch.finfo(mel.dtype).tiny  # the root has no gradient at 0
        amplitude = mel.clamp_min(tiny) ** (1 / self.power)
        return self.scaling.to_unit(amplitude.transpose(1, 2)).unflatten(0, wav.shape[:2])

    def analysis(self, num_frames: int) -> STFTAnalysis:
        """Return the STFT of waveforms of `num_frames` hops."""
        return STFTAnalysis(self.window, self.hop_length, num_frames)

    def amplitude(self, spec: Tensor) -> Tensor:
        """Estimate the magnitudes of the STFT behind spec [N, F, L], float [N, L, K]."""
        mel = self.scaling.to_amplitude(spec)
        return (deconvolve(mel**self.power, self.filters) ** (1 / self.power)).transpose(1, 2)

    def frequencies(self) -> Tensor:
        """Return the frequency of each band's peak in Hz, float [F]."""
        edges = torch.linspace(0, self.sample_rate / 2, self.filters.shape[1])
        return edges[self.filters.argmax(dim=1).cpu()]


def deconvolve(mel: Tensor, filters: Tensor, num_iterations: int = 20) -> Tensor:
    """Estimate the non-negative spectrum behind a mel spectrum.

    Uses multiplicative updates (Lee & Seung, 2001) that lower the generalised Kullback-Leibler divergence. Unlike least
    squares, they fit weak bands as closely as strong ones, which matches hearing, and they keep the result >= 0.

    Args:
        mel: float [N, F, L], >= 0.
        filters: float [F, K], >= 0.
        num_iterations: Number of updates, of two matrix products each.

    Returns:
        float [N, K, L], >= 0, such that filters @ result approximates mel.
    """
    tiny = torch.finfo(mel.dtype).tiny ** 0.5
    response = filters.sum(dim=0).clamp_min(tiny)[:, None]  # [K, 1]
    transposed = filters.T / response
    spectrum = transposed @ mel
    for _ in range(num_iterations):
        spectrum = spectrum * (transposed @ (mel / (filters @ spectrum).clamp_min(tiny)))
    return spectrum


def _filters(
    n_fft: int, f_min: float, f_max: float, n_mels: int, sample_rate: int, norm: str | None, mel_scale: str
) -> Tensor:
    """Return the triangular mel filters, float [F, K]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchaudio warns about empty bands; here they are an error
        return melscale_fbanks(n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm, mel_scale).T.contiguous()


def _checked_filters(
    n_fft: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: str | None,
    mel_scale: str,
    full_rank: bool,
) -> Tensor:
    """Return the mel filters, float [F, K], after checking that no band is empty or linearly dependent on others."""
    filters = _filters(n_fft, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
    rank = _rank(filters)
    if rank == n_mels:
        return filters
    empty = int((filters.amax(dim=1) == 0).sum())
    larger = (n_fft * 2**k for k in range(1, 6))
    enough = next(
        (n for n in larger if _rank(_filters(n, f_min, f_max, n_mels, sample_rate, norm, mel_scale)) == n_mels), 0
    )
    advice = f"use n_fft={enough}" if enough else "use fewer bands"
    message = (
        f"{n_mels} mel bands at n_fft={n_fft} and {sample_rate} Hz cannot be inverted "
        f"(rank {rank}, {empty} empty bands): {advice}"
    )
    if full_rank:
        raise ValueError(f"{message}, or allow it with full_rank=False")
    warnings.warn(message, stacklevel=3)
    return filters


def _rank(filters: Tensor) -> int:
    # Normalize the rows first: with Slaney's norm they differ by orders of magnitude.
    return int(torch.linalg.matrix_rank(F.normalize(filters.double(), dim=1)))
