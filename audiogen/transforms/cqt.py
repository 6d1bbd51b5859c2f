"""Constant-Q spectrograms and back.

The transform of Brown & Puckette (1992) with librosa's filters: Hann windows whose length is a fixed number of periods,
of which only positive frequencies are kept. librosa computes lower octaves at lower sample rates, which is quicker and
inexact (by 1 to 5 %); here every octave sees the full rate.

The inverse is a synthesis by the same filters, in the sense of least squares: the sum of all filters' responses is
equalised in frequency, and what is left of the error is synthesised once more. Griffin-Lim then works on this analysis
as on any other. Amplitudes are relative to full scale: a full-scale sine at a band's frequency is 1 (0 dB) there.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property

import librosa
import numpy as np
import torch
from torch import Tensor

from audiogen.transforms.frames import Frames, overlap_add
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.scaling import Scale, Scaling
from audiogen.transforms.transform import SpectrogramTransform

NUM_REFINEMENTS = 4  # each takes about 10 dB off the error of a synthesis, or 3 dB at long hops


class CQT(SpectrogramTransform):
    """Magnitudes of the constant-Q transform: bands evenly spaced in pitch.

    Args:
        sample_rate: In Hz.
        hop_length: In samples. Filters get shorter with their pitch: up to half the shortest one's length, a synthesis
            is exact to 40 dB within the band; a hop beyond that length leaves gaps, of which a warning tells.
        f_min: Frequency of the lowest band in Hz.
        n_bins: F, the number of bands.
        bins_per_octave: Bands per octave.
        num_frames: L; one clip has num_frames * hop_length samples.
        num_channels: C, of the sound and of the spectrogram.
        filter_scale: Factor on the filters' lengths: above 1 for longer hops, below 1 for sharper time.
        scale: "db", "log1p" or "linear".
        floor_db: Level that becomes -1 ("db"), in dB relative to full scale.
        ceil_db: Level that becomes 1.
        log1p_gain: Of "log1p".
        phase: The phase method of the inverse; 32 iterations of fast Griffin-Lim by default.

    Raises:
        ValueError: Where the highest filter reaches beyond half the sample rate, and for values out of range.
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
        self.num_octaves = math.ceil(n_bins / bins_per_octave)
        for i in range(self.num_octaves):
            frequencies = self._frequencies()[i * bins_per_octave : (i + 1) * bins_per_octave]
            octave = _octave(frequencies, sample_rate, bins_per_octave, filter_scale)
            self.register_buffer(f"kernels_{i}", octave.kernels, persistent=False)
            self.register_buffer(f"lengths_{i}", octave.lengths, persistent=False)
        self._warn_of_gaps(float(octave.lengths[-1]))

    def forward(self, wav: Tensor) -> Tensor:
        """Turn a waveform into the scaled magnitudes of its constant-Q transform.

        Inverse: `inverse`. Lost: the phase, what lies below f_min or above the highest band, and levels beyond the ends
        of the scale.

        Args:
            wav: float [B, C, T], full scale is [-1, 1].

        Returns:
            spec, float [B, C, F, L] in [-1, 1]; silence is -1.

        Raises:
            ValueError: For another shape.
        """
        return self.scaling.to_unit(self.analyse(wav).abs().transpose(1, 2)).unflatten(0, wav.shape[:2])

    def frames(self, num_frames: int) -> "CQTFrames":
        """Return the constant-Q analysis of waveforms of `num_frames` hops."""
        octaves = [
            Octave(self.get_buffer(f"kernels_{i}"), self.get_buffer(f"lengths_{i}")) for i in range(self.num_octaves)
        ]
        return CQTFrames(octaves, self.hop_length, num_frames)

    def amplitude(self, spec: Tensor) -> Tensor:
        """Return the magnitudes of spec [N, F, L], float [N, L, F]."""
        return self.scaling.to_amplitude(spec).transpose(1, 2)

    def frequencies(self) -> Tensor:
        """Return the centre frequency of each band in Hz, float [F]."""
        return torch.from_numpy(self._frequencies()).float()

    def _frequencies(self) -> np.ndarray:
        return self.f_min * 2 ** (np.arange(self.shape[1]) / self.bins_per_octave)

    def _warn_of_gaps(self, shortest: float) -> None:
        if self.hop_length > shortest:
            warnings.warn(
                f"CQT: hop_length={self.hop_length} is beyond the {shortest:.0f} samples of the highest filter, so "
                f"parts of the sound are not seen there: use hop_length <= {shortest:.0f}, or a filter_scale "
                f"{self.hop_length / shortest:.1f} times as large",
                stacklevel=3,
            )


@dataclass(frozen=True)
class Octave:
    """The filters of one octave.

    Attributes:
        kernels: float [n, 2 b]: the real parts of b filters, then their imaginary parts.
        lengths: Samples that each filter reaches over, float [b].
    """

    kernels: Tensor
    lengths: Tensor


def _octave(frequencies: np.ndarray, sample_rate: int, bins_per_octave: int, scale: float) -> Octave:
    """Make the filters of b frequencies in Hz, float64 [b]."""
    ratio = 2 ** (2 / bins_per_octave)
    bandwidth = np.full(len(frequencies), (ratio - 1) / (ratio + 1))  # relative
    reach = frequencies[-1] * (1 + 0.75 * bandwidth[-1] / scale)  # to where a Hann window's main lobe is 3 dB down
    if reach > sample_rate / 2:
        raise ValueError(
            f"the highest of the bands, at {frequencies[-1]:.0f} Hz, reaches beyond half the sample rate "
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
    n = filters.shape[1]
    response = np.fft.fft(filters)
    response[:, n // 2 + 1 :] = 0
    kernels = 2 * np.fft.fft(response) / n  # the sum over x * kernel is that over both spectra
    both = torch.from_numpy(np.concatenate([kernels.real, kernels.imag]).T)
    return Octave(both.float().contiguous(), torch.from_numpy(lengths).float())


class CQTFrames(Frames):
    """Constant-Q analysis and its least-squares synthesis.

    Args:
        octaves: From the lowest to the highest.
        hop_length: In samples.
        num_frames: L - 1, the hops of a waveform.
    """

    def __init__(self, octaves: list[Octave], hop_length: int, num_frames: int) -> None:
        self.octaves, self.hop_length, self.num_frames = octaves, hop_length, num_frames
        self.num_samples = num_frames * hop_length
        self.margin = max(len(octave.kernels) for octave in octaves) // 2
        self.padded_samples = self.num_samples + 2 * self.margin
        self.n_fft = 2 ** math.ceil(math.log2(self.padded_samples))

    def analyse(self, padded: Tensor) -> Tensor:
        """Turn padded waveforms, float [N, P], into constant-Q spectra, complex [N, L, K]."""
        parts = []
        for octave in self.octaves:
            windows = self._reach(padded, octave).unfold(1, len(octave.kernels), self.hop_length)  # [N, L, n]
            # Clip by clip: a product copies its windows, and those of the lowest octave reach over a second each.
            response = torch.cat([clip @ octave.kernels for clip in windows.split(1)])
            parts.append(torch.complex(*response.chunk(2, dim=2)))
        return torch.cat(parts, dim=2)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Turn constant-Q spectra, complex [N, L, K], into padded waveforms, float [N, P]."""
        return self._equalise(self._adjoint(spectrum))

    def to_wav(self, spectrum: Tensor) -> Tensor:
        """Turn constant-Q spectra, complex [N, L, K], into waveforms, float [N, T], closer than one synthesis comes."""
        padded = self.synthesise(spectrum)
        for _ in range(NUM_REFINEMENTS):
            padded = padded + self.synthesise(spectrum - self.analyse(padded))
        return self.crop(padded)

    def _adjoint(self, spectrum: Tensor) -> Tensor:
        """Sum the filters, each weighted by its coefficient and its length, to float [N, P]."""
        padded = spectrum.real.new_zeros(len(spectrum), self.padded_samples)
        parts = spectrum.split([len(octave.lengths) for octave in self.octaves], dim=2)
        for octave, part in zip(self.octaves, parts, strict=True):
            weighted = part * octave.lengths
            frames = torch.cat([weighted.real, weighted.imag], dim=2).split(1)
            sums = [overlap_add(clip @ octave.kernels.T, self.hop_length) for clip in frames]
            self._reach(padded, octave).add_(torch.cat(sums))
        return padded

    def _equalise(self, padded: Tensor) -> Tensor:
        """Undo the filters' joint response to each frequency; outside the clip there is silence."""
        flat = torch.fft.irfft(torch.fft.rfft(padded, self.n_fft) * self.equaliser, self.n_fft)
        return self.pad(self.crop(flat))

    @cached_property
    def equaliser(self) -> Tensor:
        """One over the joint response to each frequency, float [n_fft // 2 + 1]."""
        response = self.octaves[0].kernels.new_zeros(self.n_fft)
        for octave in self.octaves:
            kernels = torch.complex(*octave.kernels.T.chunk(2))  # [b, n]
            response += octave.lengths @ torch.fft.fft(kernels, self.n_fft).abs().square()
        both = (response + response.flip(0).roll(1))[: self.n_fft // 2 + 1] / (2 * self.hop_length)
        # Beyond the lowest and the highest band, nothing is heard of a frequency: nothing is made there.
        return 1 / (both + 0.02 * both.max())

    def _reach(self, padded: Tensor, octave: Octave) -> Tensor:
        """Return the view of padded waveforms, float [N, P], that the frames of an octave reach over."""
        start = self.margin - len(octave.kernels) // 2
        return padded[:, start : start + self.num_frames * self.hop_length + len(octave.kernels)]
