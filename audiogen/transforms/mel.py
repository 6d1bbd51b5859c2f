"""Mel spectrograms in decibels and back.

Amplitudes are relative to full scale: the STFT is divided by half the sum of its window, so that a full-scale sine has
magnitude 1 (0 dB) at its frequency.
"""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from audiogen.transforms.phase.griffin_lim import griffin_lim
from audiogen.transforms.scaling import amplitude_to_unit, unit_to_amplitude
from audiogen.transforms.transform import SpectrogramTransform

MelScale = Literal["slaney", "htk"]


class LogMel(SpectrogramTransform):
    """Log-mel spectrogram with a fixed range, and its inverse by non-negative deconvolution and Griffin-Lim.

    Args:
        sample_rate: In Hz.
        n_fft: FFT and Hann window length in samples.
        hop_length: In samples, at most n_fft / 2.
        n_mels: F, the number of bands.
        num_frames: L; one clip has num_frames * hop_length samples.
        num_channels: C, of the sound and of the spectrogram.
        f_min: Lowest band edge in Hz.
        f_max: Highest band edge in Hz; half the sample rate by default.
        mel_scale: "slaney" (librosa's default) or "htk".
        norm: "slaney" gives all bands the same area, None the same peak of 1. Slaney's levels are 25 to 40 dB lower:
            floor_db and ceil_db then have to move too.
        power: 1 filters magnitudes, 2 powers.
        floor_db: Level that becomes -1, in dB relative to full scale.
        ceil_db: Level that becomes 1.
        num_iterations: Griffin-Lim iterations of the inverse.

    Raises:
        ValueError: Where the filter bank cannot be inverted (empty bands or linearly dependent ones), saying which
            n_fft would do, and for values out of range.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 128,
        num_frames: int = 64,
        num_channels: int = 1,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel_scale: MelScale = "slaney",
        norm: Literal["slaney"] | None = None,
        power: Literal[1, 2] = 1,
        floor_db: float = -80.0,
        ceil_db: float = 10.0,
        num_iterations: int = 32,
    ) -> None:
        super().__init__()
        if min(n_mels, num_frames, num_channels) < 1 or num_iterations < 0 or power not in (1, 2):
            raise ValueError(
                "need n_mels, num_frames and num_channels >= 1, num_iterations >= 0 and power 1 or 2, got "
                f"{n_mels}, {num_frames}, {num_channels}, {num_iterations} and {power}"
            )
        if n_fft < 2 or n_fft % 2:
            raise ValueError(f"n_fft must be even, got {n_fft}")
        if not 0 < hop_length <= n_fft // 2:
            raise ValueError(f"hop_length must be in 1 ... n_fft / 2 = {n_fft // 2}, got {hop_length}")
        if floor_db >= ceil_db:
            raise ValueError(f"floor_db must be below ceil_db, got {floor_db} and {ceil_db}")
        f_max = sample_rate / 2 if f_max is None else f_max
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(f"need 0 <= f_min < f_max <= sample_rate / 2, got {f_min}, {f_max} at {sample_rate} Hz")
        self.sample_rate, self.hop_length, self.power = sample_rate, hop_length, power
        self.floor_db, self.ceil_db, self.num_iterations = floor_db, ceil_db, num_iterations
        self.num_samples = num_frames * hop_length
        self.shape = (num_channels, n_mels, num_frames)
        self.band_range = (f_min, f_max, mel_scale)
        filters = _invertible_filters(n_fft, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
        self.register_buffer("filters", filters, persistent=False)  # [F, K]
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.filters: Tensor
        self.window: Tensor

    def forward(self, wav: Tensor) -> Tensor:
        """Turn a waveform into its scaled log-mel spectrogram.

        Inverse: `inverse`. Lost: the phase, detail finer than a band, and levels outside floor_db ... ceil_db.

        Args:
            wav: float [B, C, T] with T = num_samples, full scale is [-1, 1].

        Returns:
            spec, float [B, C, F, L] in [-1, 1]; silence is -1.

        Raises:
            ValueError: For another shape.
        """
        if wav.ndim != 3 or wav.shape[1] != self.shape[0] or wav.shape[2] != self.num_samples:
            raise ValueError(f"expected wav [B, {self.shape[0]}, {self.num_samples}], got {list(wav.shape)}")
        return amplitude_to_unit(self._mel(wav), self.floor_db, self.ceil_db)

    def inverse(self, spec: Tensor) -> Tensor:
        """Make a waveform that has this spectrogram.

        Args:
            spec: float [B, C, F, L] as `forward` returns it; values outside [-1, 1] are clamped.

        Returns:
            wav, float [B, C, T] at the level of the original sound, not clipped.

        Raises:
            ValueError: For another shape.
        """
        if spec.ndim != 4 or tuple(spec.shape[1:]) != self.shape:
            raise ValueError(f"expected spec [B, {', '.join(map(str, self.shape))}], got {list(spec.shape)}")
        mel = unit_to_amplitude(spec.float().flatten(0, 1), self.floor_db, self.ceil_db)  # [B C, F, L]
        magnitude = deconvolve(mel**self.power, self.filters) ** (1 / self.power)
        # The centred STFT of T samples has L + 1 frames; forward dropped the last one, half of which is past the end.
        magnitude = F.pad(magnitude, (0, 1), mode="replicate") * (self.window.sum() / 2)  # [B C, K, L + 1]
        wav = griffin_lim(magnitude, self.window, self.hop_length, self.num_samples, self.num_iterations)
        return wav.unflatten(0, spec.shape[:2])  # [B, C, T]

    def frequencies(self) -> Tensor:
        """Return the frequency of each band's peak in Hz, float [F]."""
        edges = torch.linspace(0, self.sample_rate / 2, self.filters.shape[1])
        return edges[self.filters.argmax(dim=1).cpu()]

    def _mel(self, wav: Tensor) -> Tensor:
        """Return mel amplitudes of wav [B, C, T], float [B, C, F, L]."""
        spectrum = torch.stft(
            wav.flatten(0, 1),
            len(self.window),
            self.hop_length,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        magnitude = spectrum.abs()[..., :-1] / (self.window.sum() / 2)  # [B C, K, L]
        mel = self.filters @ magnitude**self.power
        tiny = torch.finfo(mel.dtype).tiny  # at 0 the root has no gradient
        mel = mel.clamp_min(tiny) ** (1 / self.power)  # [B C, F, L]
        return mel.unflatten(0, wav.shape[:2])


def deconvolve(mel: Tensor, filters: Tensor, num_iterations: int = 20) -> Tensor:
    """Find the non-negative spectrum behind a mel spectrum.

    Multiplicative updates (Lee & Seung, 2001) that lower the generalised Kullback-Leibler divergence: unlike least
    squares they fit weak bands as closely as strong ones, which is what is heard, and they never leave x >= 0.

    Args:
        mel: float [N, F, L], >= 0.
        filters: float [F, K], >= 0.
        num_iterations: Of two matrix products each.

    Returns:
        float [N, K, L], >= 0, with filters @ result close to mel.
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
        warnings.simplefilter("ignore")  # torchaudio warns of empty bands: they are an error here
        return melscale_fbanks(n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm, mel_scale).T.contiguous()


def _invertible_filters(
    n_fft: int, f_min: float, f_max: float, n_mels: int, sample_rate: int, norm: str | None, mel_scale: str
) -> Tensor:
    """Return the mel filters, float [F, K], or refuse a bank of which bands are empty or dependent."""
    filters = _filters(n_fft, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
    rank = _rank(filters)
    if rank == n_mels:
        return filters
    empty = int((filters.amax(dim=1) == 0).sum())
    larger = (n_fft * 2**k for k in range(1, 6))
    enough = next(
        (n for n in larger if _rank(_filters(n, f_min, f_max, n_mels, sample_rate, norm, mel_scale)) == n_mels), 0
    )
    advice = f"n_fft={enough} would do" if enough else "use fewer bands"
    raise ValueError(
        f"{n_mels} mel bands at n_fft={n_fft} and {sample_rate} Hz cannot be inverted "
        f"(rank {rank}, {empty} empty bands): {advice}"
    )


def _rank(filters: Tensor) -> int:
    # Rows to unit length first: Slaney's norm makes them differ by orders of magnitude.
    return int(torch.linalg.matrix_rank(F.normalize(filters.double(), dim=1)))
