"""Cut the silent ends off clips, and drop clips with nothing in them.

Both rules are those of Jiralerspong & Gidel, "Generating Diverse Vocal Bursts with StyleGAN2 and MEL-Spectrograms"
(2022), section 3.1.
"""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import librosa
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from audiogen.audio.io import AudioFileError
from audiogen.audio.preprocess import PreprocessStep

LOG_FLOOR = 1e-6  # the paper's; as a level, log(1e-6) / 2 = -6.9


@dataclass(frozen=True)
class TrimSilence(PreprocessStep):
    """Cut both ends up to the first and from the last loud frame, as `librosa.effects.trim` does; pauses stay.

    A frame has 2048 samples, one begins every 512. It is loud where the RMS level of any channel is less than
    `threshold_db` under that of the loudest frame of all channels. Levels under -100 dB relative to full scale count
    as -100 dB, so at 40 dB nothing is cut off clips that are under -60 dB throughout.

    Args:
        threshold_db: Above 0; lower values cut more.

    Raises:
        ValueError: For a threshold out of range.
    """

    threshold_db: float = 40.0

    def __post_init__(self) -> None:
        if not self.threshold_db > 0:
            raise ValueError(f"expected threshold_db > 0, got {self.threshold_db}")

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return the part of wav [C, T] between its silent ends, at least one sample."""
        _, (start, end) = librosa.effects.trim(wav.numpy(), top_db=self.threshold_db)
        return wav[:, start:end]


@dataclass(frozen=True)
class DropEmpty(PreprocessStep):
    """Drop clips that are too short, or of which nearly the whole spectrogram is under a level.

    The level is absolute: at 16 kHz white noise is dropped under -48 dB (RMS, relative to full scale), and a clip that
    was made louder before is evaluated as it comes. The spectrogram has the paper's settings at any sample rate: n_fft
    512, hop 256, 128 mel bands with Slaney's norm, log(power + 1e-6) / 2 of the STFT without normalisation. Its ends
    are padded with silence, where the paper's code mirrors the sound: so clips of any length can be evaluated.

    Args:
        min_seconds: Clips of this length are still dropped.
        threshold: Natural logarithm of an amplitude, above the floor of -6.9.
        share: Of values under the threshold from which on a clip is dropped, in (0, 1].

    Raises:
        ValueError: For arguments out of range.
    """

    min_seconds: float = 0.05
    threshold: float = -4.0
    share: float = 0.98

    def __post_init__(self) -> None:
        if not self.min_seconds >= 0:
            raise ValueError(f"expected min_seconds >= 0, got {self.min_seconds}")
        if not self.threshold > math.log(LOG_FLOOR) / 2:
            raise ValueError(f"expected threshold > {math.log(LOG_FLOOR) / 2:.2f}, got {self.threshold}")
        if not 0 < self.share <= 1:
            raise ValueError(f"expected share in (0, 1], got {self.share}")

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return wav [C, T] as it is.

        Raises:
            AudioFileError: Where it is to be dropped.
        """
        seconds = wav.shape[-1] / sample_rate
        if seconds <= self.min_seconds:
            raise AudioFileError(f"too short ({seconds:.3f} s, need more than {self.min_seconds:g} s)")
        under = _log_mel(wav, sample_rate) < self.threshold
        share = int(under.sum()) / under.numel()
        if share >= self.share:
            raise AudioFileError(f"nearly empty ({share:.1%} of its log-mel is under {self.threshold:g})")
        return wav


def _log_mel(wav: Tensor, sample_rate: int) -> Tensor:
    """Return the log-mel spectrogram of the paper, float [C, F, L], of wav [C, T]."""
    return torch.log(_mel(sample_rate)(wav) + LOG_FLOOR) / 2


@lru_cache
def _mel(sample_rate: int) -> MelSpectrogram:
    with warnings.catch_warnings():
        # Of bands too narrow to hold a bin, at high sample rates: they are always under the threshold.
        warnings.simplefilter("ignore")
        return MelSpectrogram(
            sample_rate, n_fft=512, hop_length=256, n_mels=128, norm="slaney", mel_scale="slaney", pad_mode="constant"
        )
