"""Convert waveforms to mel-frequency cepstral coefficients and back.

Source: librosa's definition, the orthonormal type-2 DCT of a log-mel spectrum, here of `audiogen.transforms.mel`. The
coefficients stay linear, because log1p would lose their signs.
"""

import torch
from torch import Tensor
from torchaudio.functional import create_dct

from audiogen.transforms.analysis import Analysis
from audiogen.transforms.mel import LogMel, MelScale
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.stft import check_window
from audiogen.transforms.transform import SpectrogramTransform

# In clips of speech, 99.9 % of the coefficients above the first lie within this fraction of the possible range.
USED_RANGE = 0.5


class MFCC(SpectrogramTransform):
    """The first coefficients of each frame's log-mel spectrum.

    Coefficient 0 is the mean level, scaled so that silence is -1. The others describe the spectral envelope in
    increasing detail and are 0 in silence.

    Args:
        sample_rate: Sample rate in Hz.
        n_fft: FFT length in samples.
        hop_length: Hop in samples, at most n_fft / 2.
        n_mfcc: F, the number of coefficients, at most n_mels.
        n_mels: Number of mel bands.
        num_frames: L; a clip has num_frames * hop_length samples.
        num_channels: C, of the waveform and the spectrogram.
        f_min: Lower edge of the lowest mel band in Hz.
        f_max: Upper edge of the highest mel band in Hz; None uses half the sample rate.
        mel_scale: Mel scale: "slaney" (librosa's default) or "htk".
        floor_db: Level of silence, in dB relative to full scale.
        ceil_db: Highest level, in dB relative to full scale.
        phase: Phase method of the inverse; None uses 32 iterations of fast Griffin-Lim.

    Raises:
        ValueError: As in `LogMel`, or if `n_mfcc` exceeds `n_mels`.
    """

    def __init__(
        self,
        sample_rate: int = 22050,
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mfcc: int = 40,
        n_mels: int = 128,
        num_frames: int = 64,
        num_channels: int = 1,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel_scale: MelScale = "slaney",
        floor_db: float = -80.0,
        ceil_db: float = 10.0,
        phase: PhaseMethod | None = None,
    ) -> None:
        check_window(n_fft, None, hop_length)
        super().__init__(sample_rate, hop_length, (num_channels, n_mfcc, num_frames), phase)
        if n_mfcc > n_mels:
            raise ValueError(f"n_mfcc must be at most n_mels = {n_mels}, got {n_mfcc}")
        self.mel = LogMel(
            sample_rate,
            n_fft,
            hop_length,
            n_mels,
            num_frames,
            num_channels,
            f_min=f_min,
            f_max=f_max,
            mel_scale=mel_scale,
            floor_db=floor_db,
            ceil_db=ceil_db,
        )
        basis = create_dct(n_mfcc, n_mels, norm="ortho").T.contiguous()  # [F, n_mels]
        # The largest coefficient that a spectrum in [-1, 1] can have.
        bound = basis.abs().sum(dim=1)
        bound[1:] *= USED_RANGE
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("bound", bound[:, None], persistent=False)
        silence = torch.zeros(n_mfcc, 1)
        silence[0] = -1
        self.register_buffer("silence", silence, persistent=False)
        self.basis: Tensor
        self.bound: Tensor
        self.silence: Tensor

    def forward(self, wav: Tensor) -> Tensor:
        """Turn a waveform into its scaled cepstral coefficients.

        Inverse: `inverse`. Lost: what a mel spectrogram loses, and spectral detail finer than the last coefficient,
        such as the harmonics of a voice. A voice comes back as a whisper with its formants, a few dB quieter, since the
        mean of decibels is below the mean of powers. Coefficients beyond the range (at most 0.1 % in speech) are
        clamped.

        Args:
            wav: float [B, C, T], full scale is [-1, 1].

        Returns:
            spec, float [B, C, F, L] in [-1, 1]; silence is -1 in coefficient 0, and 0 in the others.

        Raises:
            ValueError: If `wav` has another shape.
        """
        # Computed as a distance from silence, so that silence has no rounding error.
        return (self.basis @ (self.mel(wav) + 1) / self.bound + self.silence).clamp(-1, 1)

    def analysis(self, num_frames: int) -> Analysis:
        """Return the STFT of waveforms of `num_frames` hops."""
        return self.mel.analysis(num_frames)

    def amplitude(self, spec: Tensor) -> Tensor:
        """Estimate the magnitudes of the STFT behind spec [N, F, L], float [N, L, K]."""
        return self.mel.amplitude(self.log_mel(spec))

    def log_mel(self, spec: Tensor) -> Tensor:
        """Return the smooth log-mel spectrogram of spec [..., F, L], float [..., n_mels, L] in [-1, 1]."""
        return (self.basis.T @ ((spec.clamp(-1, 1) - self.silence) * self.bound) - 1).clamp(-1, 1)

    def frequencies(self) -> None:
        """Return None: coefficients have no frequencies."""
