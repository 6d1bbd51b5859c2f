"""Convert waveforms to constant-Q spectrograms and back.

Source: Brown & Puckette (1992), with librosa's filters: Hann windows with a fixed number of periods, positive
frequencies only. Deviation from librosa: it computes lower octaves at lower sample rates, which is inexact by 1 to 5 %.
Here every octave uses the full rate, through FFTs in which its filters span only a few bins, which is exact to 0.01 %.

The inverse is an approximate least-squares synthesis with the same filters: the summed response of all filters is
equalised in frequency, and the remaining error is synthesised again several times. Griffin-Lim uses this analysis like
any other. Amplitudes are relative to full scale: a full-scale sine at a band's frequency has magnitude 1 (0 dB) there.
"""

import math
import warnings
from functools import cached_property
from typing import cast

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.transforms.analysis import Analysis, overlap_add
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.scaling import Scale, Scaling
from audiogen.transforms.transform import MAX_VALUES, SpectrogramTransform

INAUDIBLE = 1e-6  # filter responses below this fraction of the largest are dropped
NUM_REFINEMENTS = 4  # each lowers the synthesis error by about 10 dB, or by 3 dB at long hops


class CQT(SpectrogramTransform):
    """Magnitudes of the constant-Q transform: bands evenly spaced in pitch.

    Args:
        sample_rate: Sample rate in Hz.
        hop_length: Hop in samples. Higher bands have shorter filters: up to half the length of the shortest, synthesis
            is exact to 40 dB within the band. A hop longer than that filter misses parts of the sound, and warns.
        f_min: Frequency of the lowest band in Hz.
        n_bins: F, the number of bands.
        bins_per_octave: Bands per octave.
        num_frames: L; a clip has num_frames * hop_length samples.
        num_channels: C, of the waveform and the spectrogram.
        filter_scale: Factor on the filter lengths: above 1 allows longer hops, below 1 sharpens time resolution.
        scale: Amplitude scale: "db", "log1p" or "linear".
        floor_db: Level mapped to -1 (scale "db"), in dB relative to full scale.
        ceil_db: Level mapped to 1, in dB relative to full scale.
        log1p_gain: Factor on the amplitude inside the logarithm (scale "log1p").
        phase: Phase method of the inverse; None uses 32 iterations of fast Griffin-Lim.

    Raises:
        ValueError: If the highest filter extends beyond half the sample rate, the filters would be too long, `f_min`,
            `filter_scale` or `bins_per_octave` is not positive, or as in `SpectrogramTransform` and `Scaling`.
    """

    linear_frequency = False

    def __init__(
        self,
        sample_rate: int = 22050,
        hop_length: int = 128,
        f_min: float = 32.703,
        n_bins: int = 168,
        bins_per_octave: int = 24,
        num_frames: int = 128,
        num_channels: int = 1,
        filter_scale: float = 1.0,
        scale: Scale = "db",
        floor_db: float = -80.0,
        ceil_db: float = 10.0,
        log1p_gain: float = 512.0,
        phase: PhaseMethod | None = None,
    ) -> None:
        super().__init__(sample_rate, hop_length, (num_channels, n_bins, num_frames), phase)
        if f_min <= 0 or bins_per_octave < 1 or filter_scale <= 0:
            raise ValueError(
                "need f_min, filter_scale > 0 and bins_per_octave >= 1, got "
                f"{f_min}, {filter_scale} and {bins_per_octave}"
            )
        self.scaling = Scaling(scale, floor_db, ceil_db, gain=log1p_gain)
        self.f_min, self.bins_per_octave = f_min, bins_per_octave
        self.octaves = nn.ModuleList()
        for first in range(0, n_bins, bins_per_octave):
            kernels, lengths = _kernels(
                self._frequencies()[first : first + bins_per_octave], sample_rate, bins_per_octave, filter_scale
            )
            self.octaves.append(Octave(kernels, lengths, hop_length))
        self._warn_about_gaps(lengths[-1])

    def forward(self, wav: Tensor) -> Tensor:
        """Turn a waveform into the scaled magnitudes of its constant-Q transform.

        Inverse: `inverse`. Lost: the phase, frequencies below f_min or above the highest band, and levels outside the
        range of the scale.

        Args:
            wav: float [B, C, T], full scale is [-1, 1].

        Returns:
            spec, float [B, C, F, L] in [-1, 1]; silence is -1.

        Raises:
            ValueError: If `wav` has another shape.
        """
        return self.scaling.to_unit(self.analyse(wav).abs().transpose(1, 2)).unflatten(0, wav.shape[:2])

    def analysis(self, num_frames: int) -> "CQTAnalysis":
        """Return the constant-Q analysis of waveforms of `num_frames` hops."""
        return CQTAnalysis(cast(list[Octave], list(self.octaves)), self.hop_length, num_frames)

    def amplitude(self, spec: Tensor) -> Tensor:
        """Return the magnitudes of spec [N, F, L], float [N, L, F]."""
        return self.scaling.to_amplitude(spec).transpose(1, 2)

    def frequencies(self) -> Tensor:
        """Return the centre frequency of each band in Hz, float [F]."""
        return torch.from_numpy(self._frequencies()).float()

    def _frequencies(self) -> np.ndarray:
        return self.f_min * 2 ** (np.arange(self.shape[1]) / self.bins_per_octave)

    def _warn_about_gaps(self, shortest: float) -> None:
        if self.hop_length > shortest:
            warnings.warn(
                f"CQT: hop_length={self.hop_length} exceeds the {shortest:.0f} samples of the highest filter, which "
                f"therefore misses parts of the sound: use hop_length <= {shortest:.0f}, or a filter_scale "
                f"{self.hop_length / shortest:.1f} times as large",
                stacklevel=3,
            )


class Octave(nn.Module):
    """The filters of one octave, applied by FFT in blocks long enough that the filters span few bins.

    Args:
        kernels: Positive-frequency filters, complex128 [b, n]; frame m is the sum over kernels * wav[m * hop_length :].
        lengths: Length of each filter in samples, float64 [b].
        hop_length: Hop in samples.
    """

    def __init__(self, kernels: np.ndarray, lengths: np.ndarray, hop_length: int) -> None:
        super().__init__()
        self.reach, self.hop_length = kernels.shape[1], hop_length
        self.hops = 2 ** max(math.ceil(math.log2(2 * self.reach / hop_length)), 1)  # per block
        self.block = self.hops * hop_length
        self.num_frames = (self.block - self.reach) // hop_length + 1  # frames that fit into a block
        response = self.hops * np.fft.ifft(kernels, self.block)[:, : self.block // 2 + 1]
        audible = np.flatnonzero((np.abs(response) > INAUDIBLE * np.abs(response).max()).any(axis=0))
        self.first, self.num_bins = int(audible[0]), len(range(audible[0], audible[-1] + 1))
        kept = torch.from_numpy(response[:, self.first : self.first + self.num_bins])
        self.register_buffer("response", torch.view_as_real(kept).float(), persistent=False)  # [b, W, 2]
        self.register_buffer("lengths", torch.from_numpy(lengths).float(), persistent=False)
        self.response: Tensor
        self.lengths: Tensor

    def forward(self, wav: Tensor) -> Tensor:
        """Turn waveforms, float [N, (L - 1) * hop_length + n], into spectra, complex [N, L, b]."""
        num_frames = (wav.shape[1] - self.reach) // self.hop_length + 1
        step = self.num_frames * self.hop_length
        missing = (-(-num_frames // self.num_frames) - 1) * step + self.block - wav.shape[1]
        blocks = F.pad(wav, (0, missing)).unfold(1, self.block, step)
        bins = torch.fft.rfft(blocks)[..., self.first : self.first + self.num_bins]
        filtered = bins[:, :, None] * torch.view_as_complex(self.response)  # [N, blocks, b, W]
        frames = torch.fft.ifft(self._fold(filtered))[..., : self.num_frames]
        return frames.transpose(2, 3).flatten(1, 2)[:, :num_frames]

    def adjoint(self, spectrum: Tensor) -> Tensor:
        """Sum the filters weighted by their lengths and by spectra, complex [N, L, b], into float [N, T]."""
        num_frames = spectrum.shape[1]
        weighted = (spectrum * (self.lengths * self.hop_length / 2)).transpose(1, 2)
        missing = -num_frames % self.num_frames
        blocks = F.pad(weighted, (0, missing)).unflatten(2, (-1, self.num_frames))  # [N, b, blocks, frames]
        bins = self._unfold(torch.fft.fft(blocks, self.hops))
        filtered = (bins * torch.view_as_complex(self.response).conj()[:, None]).sum(dim=1)  # [N, blocks, W]
        whole = F.pad(filtered, (self.first, self.block // 2 + 1 - self.first - self.num_bins))
        wav = overlap_add(torch.fft.irfft(whole, self.block), self.num_frames * self.hop_length)
        return wav[:, : (num_frames - 1) * self.hop_length + self.reach]

    def power(self) -> Tensor:
        """Return the gain of `forward` followed by `adjoint` at each block frequency, float [block // 2 + 1]."""
        power = self.lengths * self.hop_length / 2 @ self.response.square().sum(dim=2)
        return F.pad(power, (self.first, self.block // 2 + 1 - self.first - self.num_bins))

    def _fold(self, bins: Tensor) -> Tensor:
        """Sample once per hop: sum bins, complex [..., W], that alias to the same one, into [..., hops]."""
        before = self.first % self.hops
        after = -(before + self.num_bins) % self.hops
        return F.pad(bins, (before, after)).unflatten(-1, (-1, self.hops)).sum(dim=-2)

    def _unfold(self, bins: Tensor) -> Tensor:
        """Apply the adjoint of `_fold`: repeat bins, complex [..., hops], to [..., W]."""
        index = torch.arange(self.first, self.first + self.num_bins, device=bins.device) % self.hops
        return bins[..., index]


def _kernels(
    frequencies: np.ndarray, sample_rate: int, bins_per_octave: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return librosa's filters at b frequencies in Hz: kernels, complex128 [b, n], and lengths, float64 [b]."""
    longest = 2 * bins_per_octave * scale * sample_rate / frequencies[0]  # approximate, in samples
    if not longest * len(frequencies) <= MAX_VALUES:
        raise ValueError(
            f"the filters of {len(frequencies)} bands from {frequencies[0]:g} Hz would have {longest:.0f} samples: "
            "use a higher f_min, fewer bins per octave or a smaller filter_scale"
        )
    ratio = 2 ** (2 / bins_per_octave)
    bandwidth = np.full(len(frequencies), (ratio - 1) / (ratio + 1))  # relative to the frequency
    reach = frequencies[-1] * (1 + 0.75 * bandwidth[-1] / scale)  # 3 dB point of a Hann window's main lobe
    if reach > sample_rate / 2:
        raise ValueError(
            f"the highest band, at {frequencies[-1]:.0f} Hz, extends beyond half the sample rate "
            f"({sample_rate} Hz): use fewer bins or a lower f_min"
        )
    filters, lengths = librosa.filters.wavelet(
        freqs=frequencies,
        sr=sample_rate,
        filter_scale=scale,
        norm=1,
        pad_fft=True,
        alpha=bandwidth,  # type: ignore[arg-type]
        gamma=0,
    )
    # Time-reversed, since librosa convolves; doubled, since half of a real sound is at the negative frequencies.
    return 2 * np.roll(filters[:, ::-1], 1, axis=1), lengths


class CQTAnalysis(Analysis):
    """Constant-Q analysis and its approximate least-squares synthesis.

    Args:
        octaves: Filters from the lowest to the highest octave.
        hop_length: Hop in samples.
        num_frames: Length of the waveforms in hops; spectra have one frame more.
    """

    def __init__(self, octaves: list[Octave], hop_length: int, num_frames: int) -> None:
        self.octaves, self.hop_length, self.num_frames = octaves, hop_length, num_frames
        self.num_samples = num_frames * hop_length
        self.margin = max(octave.reach for octave in octaves) // 2
        self.padded_samples = self.num_samples + 2 * self.margin
        self.n_fft = 2 ** math.ceil(math.log2(max(self.padded_samples, 4 * self.margin)))

    def analyse(self, padded: Tensor) -> Tensor:
        """Turn padded waveforms, float [N, P], into constant-Q spectra, complex [N, L, K]."""
        # Clip by clip, because the intermediate result takes about a hundred times a clip's memory.
        return torch.cat([self._analyse(clip) for clip in padded.split(1)])

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Turn constant-Q spectra, complex [N, L, K], into padded waveforms, float [N, P]."""
        return torch.cat([self._equalise(self._adjoint(clip)) for clip in spectrum.split(1)])

    def to_wav(self, spectrum: Tensor) -> Tensor:
        """Turn constant-Q spectra, complex [N, L, K], into waveforms, float [N, T], refining the first synthesis."""
        padded = self.synthesise(spectrum)
        for _ in range(NUM_REFINEMENTS):
            padded = padded + self.synthesise(spectrum - self.analyse(padded))
        return self.crop(padded)

    def _analyse(self, padded: Tensor) -> Tensor:
        return torch.cat([octave(self._reach(padded, octave)) for octave in self.octaves], dim=2)

    def _adjoint(self, spectrum: Tensor) -> Tensor:
        """Sum the adjoints of all octaves for spectra, complex [N, L, K], into float [N, P]."""
        padded = spectrum.real.new_zeros(len(spectrum), self.padded_samples)
        parts = spectrum.split([len(octave.lengths) for octave in self.octaves], dim=2)
        for octave, part in zip(self.octaves, parts, strict=True):
            self._reach(padded, octave).add_(octave.adjoint(part))
        return padded

    def _equalise(self, padded: Tensor) -> Tensor:
        """Undo the filters' joint response at each frequency, and silence the padding."""
        flat = torch.fft.irfft(torch.fft.rfft(padded, self.n_fft) * self.equaliser, self.n_fft)
        return self.pad(self.crop(flat))

    @cached_property
    def equaliser(self) -> Tensor:
        """Reciprocal of the filters' regularised joint response at each frequency, float [n_fft // 2 + 1]."""
        correlation = self.octaves[0].lengths.new_zeros(self.n_fft)  # short in time, regardless of the block
        for octave in self.octaves:
            part = torch.fft.irfft(octave.power(), octave.block)
            correlation[: octave.reach] += part[: octave.reach]
            correlation[-octave.reach :] += part[-octave.reach :]
        response = torch.fft.rfft(correlation).real
        # The offset keeps the gain finite at frequencies outside all bands, so that nothing is synthesised there.
        return 1 / (response + 0.02 * response.max())

    def _reach(self, padded: Tensor, octave: Octave) -> Tensor:
        """Return the part of padded waveforms, float [N, P], covered by an octave's frames, as a view."""
        start = self.margin - octave.reach // 2
        return padded[:, start : start + self.num_samples + octave.reach]
