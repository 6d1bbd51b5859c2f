"""The interface between sounds and networks: one spectrogram definition, forward and inverse."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.transforms.analysis import Analysis
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod

# Definitions come with checkpoints of others too: these bounds keep one clip below 1 GiB.
MAX_RATE = 1_000_000
MAX_FFT = 1 << 16
MAX_VALUES = 1 << 28


class SpectrogramTransform(nn.Module, ABC):
    """A waveform <-> spectrogram pair with a fixed range.

    A subclass states a linear analysis (`analysis`), what of its magnitudes the spectrogram keeps (`forward`), and how
    they are found again (`amplitude`); a phase method makes sound of these. Its arguments are plain values and the
    phase method, since they travel in the checkpoint, and it holds no parameters.

    Args:
        sample_rate: Of the waveform, in Hz.
        hop_length: Samples from one frame to the next.
        shape: (C, F, L) of one clip.
        phase: The phase method of the inverse; 32 iterations of fast Griffin-Lim by default.

    Attributes:
        num_samples: T, the length of the waveform that makes `shape`.
        linear_frequency: Whether the analysis is an STFT, whose bins are evenly spaced.

    Raises:
        ValueError: For values out of range, and for a phase method that cannot work on this analysis.
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
        """Turn wav [B, C, T] into spec [B, C, F, L] in [-1, 1] with L = T / hop_length, rounded up."""

    @abstractmethod
    def analysis(self, num_frames: int) -> Analysis:
        """Return the linear analysis of waveforms of `num_frames` hops."""

    @abstractmethod
    def amplitude(self, spec: Tensor) -> Tensor:
        """Estimate the magnitudes of the analysis behind spec [N, F, L], float [N, L, K]."""

    @abstractmethod
    def frequencies(self) -> Tensor | None:
        """Return the centre frequency of each band in Hz, float [F], ascending; None where bands are something else."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of all computation: float32, or float64 after `double()`."""
        return next((buffer.dtype for buffer in self.buffers() if buffer.is_floating_point()), torch.float32)

    @property
    def seconds(self) -> float:
        """Duration of one clip."""
        return self.num_samples / self.sample_rate

    def same_spectrogram(self, other: "SpectrogramTransform", any_length: bool = False) -> bool:
        """Tell whether another transform makes the same of every sound; how sounds are made again may differ.

        Args:
            other: The other one.
            any_length: Whether clips may be of other lengths.
        """
        if type(self) is not type(other) or self.shape[:2] != other.shape[:2]:
            return False
        ignored = {"training", *(("shape", "num_samples") if any_length else ())}  # says nothing of the spectrogram
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
        """Make a waveform that has this spectrogram; the result for a clip does not depend on its batch.

        Args:
            spec: float [B, C, F, L] as `forward` returns it, of any length; values outside [-1, 1] are clamped.
            prefix: The beginning of the waveform, float [B, C, K], where it is there already; see `PhaseMethod`.

        Returns:
            wav, float [B, C, T] at the level of the original sound, not clipped.

        Raises:
            ValueError: For another shape.
        """
        if prefix is None:
            return self.phase(self, self._checked(spec))
        return self.phase(self, self._checked(spec), prefix)

    def inverse_with_phase(self, spec: Tensor, content: Tensor) -> Tensor:
        """Make a waveform of this spectrogram with the phases of a sound: the plain inverse.

        Args:
            spec: float [B, C, F, L].
            content: wav, float [B, C, T] with T = L * hop_length.

        Returns:
            wav, float [B, C, T].

        Raises:
            ValueError: For other shapes.
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
        """Return the magnitudes that a waveform with spec [B, C, F, L] has, float [B C, L + 1, K], and their analysis.

        `forward` leaves out the last frame, half of which is past the end: it is taken to be like the one before.
        """
        amplitude = self.amplitude(spec.flatten(0, 1))
        return F.pad(amplitude, (0, 0, 0, 1), mode="replicate"), self.analysis(spec.shape[-1])

    def analyse(self, wav: Tensor) -> Tensor:
        """Return the complex analysis of wav [B, C, T], [B C, L, K], without the frame centred at the end.

        Raises:
            ValueError: For another shape.
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
