"""Define the interface between waveforms and networks: one spectrogram definition, forward and inverse."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.transforms.analysis import Analysis
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod

# Definitions also come from untrusted checkpoints: these limits keep one clip below 1 GiB.
MAX_RATE = 1_000_000
MAX_FFT = 1 << 16
MAX_VALUES = 1 << 28


class SpectrogramTransform(nn.Module, ABC):
    """A waveform <-> spectrogram pair with a fixed range.

    A subclass defines a linear analysis (`analysis`), the part of its magnitudes that the spectrogram keeps (`forward`)
    and their reconstruction (`amplitude`); a phase method turns these magnitudes into a waveform. Constructor arguments
    are plain values and the phase method, because they are stored in checkpoints. A transform has no parameters.

    Args:
        sample_rate: Sample rate of the waveform in Hz.
        hop_length: Hop between frames in samples.
        shape: (C, F, L) of one clip.
        phase: Phase method of the inverse; None uses 32 iterations of fast Griffin-Lim.

    Attributes:
        num_samples: T, the waveform length that gives `shape`.
        linear_frequency: Whether the analysis is an STFT, with evenly spaced bins.

    Raises:
        ValueError: If a size is not positive or exceeds the limits above, or the phase method needs an STFT and the
            analysis is not one.
    """

    linear_frequency: bool = True

    def __init__(
        self, sample_rate: int, hop_length: int, shape: tuple[int, int, int], phase: PhaseMethod | None = None
    ) -> None:
        super().__init__()
        if min(sample_rate, hop_length, *shape) < 1:
            raise ValueError(
                "need sample_rate, hop_length, num_channels, bands and num_frames of at least 1, got "
                f"{sample_rate}, {hop_length}, {', '.join(map(str, shape))}"
            )
        if sample_rate > MAX_RATE or max(hop_length, shape[1]) > MAX_FFT or math.prod(shape) > MAX_VALUES:
            raise ValueError(
                f"need sample_rate <= {MAX_RATE}, hop_length and bands <= {MAX_FFT} and at most {MAX_VALUES} values in "
                f"a spectrogram, got {sample_rate}, {hop_length}, {shape[1]} and {math.prod(shape)}"
            )
        self.sample_rate, self.hop_length, self.shape = sample_rate, hop_length, shape
        self.num_samples = shape[2] * hop_length
        self.phase = phase or GriffinLim()
        if self.phase.needs_linear_frequency and not self.linear_frequency:
            raise ValueError(f"{type(self.phase).__name__} needs the evenly spaced bins of an STFT: use GriffinLim")

    @abstractmethod
    def forward(self, wav: Tensor) -> Tensor:
        """Turn wav, float [B, C, T], into spec, float [B, C, F, L] in [-1, 1] with L = T / hop_length, rounded up."""

    @abstractmethod
    def analysis(self, num_frames: int) -> Analysis:
        """Return the linear analysis of waveforms of `num_frames` hops."""

    @abstractmethod
    def amplitude(self, spec: Tensor) -> Tensor:
        """Estimate the analysis magnitudes behind spec [N, F, L], float [N, L, K]."""

    @abstractmethod
    def frequencies(self) -> Tensor | None:
        """Return the centre frequency of each band in Hz, ascending, float [F]; None if bands are not frequencies."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of all computation: float32, or float64 after `double()`."""
        return next((buffer.dtype for buffer in self.buffers() if buffer.is_floating_point()), torch.float32)

    @property
    def seconds(self) -> float:
        """Duration of one clip in seconds."""
        return self.num_samples / self.sample_rate

    def same_spectrogram(self, other: "SpectrogramTransform", any_length: bool = False) -> bool:
        """Return whether another transform gives the same spectrogram for every sound. Inverses may differ.

        Args:
            other: Transform to compare with.
            any_length: Whether clip lengths may differ.
        """
        if type(self) is not type(other) or self.shape[:2] != other.shape[:2]:
            return False
        ignored = {"training", *(("shape", "num_samples") if any_length else ())}  # do not affect the spectrogram
        plain = [
            {
                name: value
                for name, value in vars(one).items()
                if isinstance(value, int | float | str | tuple) and name not in ignored
            }
            for one in (self, other)
        ]
        theirs = dict(other.named_buffers())
        return plain[0] == plain[1] and all(
            name.startswith("phase.") or (name in theirs and torch.equal(buffer.cpu(), theirs[name].cpu()))
            for name, buffer in self.named_buffers()
        )

    def inverse(self, spec: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Turn a spectrogram into a waveform. The result for a clip does not depend on the rest of the batch.

        Args:
            spec: float [B, C, F, L] of any L, as returned by `forward`; values outside [-1, 1] are clamped.
            prefix: Beginning of the waveform if already known, float [B, C, T']; see `PhaseMethod`.

        Returns:
            wav, float [B, C, T] at the original level, not clipped.

        Raises:
            ValueError: If `spec` has another shape.
        """
        if prefix is None:
            return self.phase(self, self._checked(spec))
        return self.phase(self, self._checked(spec), prefix)

    def inverse_with_phase(self, spec: Tensor, content: Tensor) -> Tensor:
        """Turn a spectrogram into a waveform with the phases of another sound.

        Args:
            spec: float [B, C, F, L].
            content: Waveform that provides the phases, float [B, C, T] with T = L * hop_length.

        Returns:
            wav, float [B, C, T].

        Raises:
            ValueError: If `spec` or `content` has another shape.
        """
        wanted = (*spec.shape[:2], spec.shape[-1] * self.hop_length)
        if tuple(content.shape) != wanted:
            raise ValueError(f"expected content {list(wanted)}, got {list(content.shape)}")
        amplitude, analysis = self.target(self._checked(spec))
        spectrum = analysis.analyse(analysis.pad(content.flatten(0, 1).to(self.dtype)))
        tiny = torch.finfo(amplitude.dtype).tiny ** 0.5
        wav = analysis.to_wav(spectrum * (amplitude / spectrum.abs().clamp_min(tiny)))
        return wav.unflatten(0, spec.shape[:2])

    def target(self, spec: Tensor) -> tuple[Tensor, Analysis]:
        """Return the magnitudes behind spec [B, C, F, L], float [B C, L + 1, K], and their analysis.

        `forward` drops the analysis' last frame, half of which lies past the end; here the frame before it is repeated.
        """
        amplitude = self.amplitude(spec.flatten(0, 1))
        return F.pad(amplitude, (0, 0, 0, 1), mode="replicate"), self.analysis(spec.shape[-1])

    def analyse(self, wav: Tensor) -> Tensor:
        """Analyse wav [B, C, T] into spectra, complex [B C, L, K], without the frame centred at the end.

        Raises:
            ValueError: If `wav` has another shape.
        """
        if wav.ndim != 3 or wav.shape[1] != self.shape[0] or not wav.shape[2]:
            raise ValueError(f"expected wav [B, {self.shape[0]}, T], got {list(wav.shape)}")
        num_frames = -(-wav.shape[2] // self.hop_length)
        analysis = self.analysis(num_frames)
        whole = F.pad(wav.flatten(0, 1).to(self.dtype), (0, analysis.num_samples - wav.shape[2]))
        return analysis.analyse(analysis.pad(whole))[:, :num_frames]

    def _checked(self, spec: Tensor) -> Tensor:
        if spec.ndim != 4 or tuple(spec.shape[1:3]) != self.shape[:2] or not spec.shape[3]:
            raise ValueError(f"expected spec [B, {self.shape[0]}, {self.shape[1]}, L], got {list(spec.shape)}")
        return spec.to(self.dtype)
