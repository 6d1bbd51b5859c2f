"""Trim silence from the ends of clips, and drop clips that are empty.

Both rules follow Jiralerspong & Gidel (2022), section 3.1.
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

LOG_FLOOR = 1e-6  # as in the paper; as a level, log(1e-6) / 2 = -6.9


@dataclass(frozen=True)
class TrimSilence(PreprocessStep):
    """Cut silence from both ends of a clip, as `librosa.effects.trim` does; pauses stay.

    Frames have 2048 samples with a hop of 512. A frame is silent if every channel's RMS level is at least
    `threshold_db` below the loudest frame of any channel. Levels below -100 dB relative to full scale count as -100 dB,
    so a threshold of 40 dB cuts nothing from clips that never exceed -60 dB.

    Args:
        threshold_db: Level below the loudest frame, in dB, at which a frame is silent; lower values cut more.

    Raises:
        ValueError: If `threshold_db` is not positive.
    """

    threshold_db: float = 40.0

    def __post_init__(self) -> None:
        if not self.threshold_db > 0:
            raise ValueError(f"expected threshold_db > 0, got {self.threshold_db}")

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return wav, float32 [C, T], without its silent ends; at least one sample is kept."""
        _, (start, end) = librosa.effects.trim(wav.numpy(), top_db=self.threshold_db)
        return wav[:, start:end]


@dataclass(frozen=True)
class DropEmpty(PreprocessStep):
    """Drop clips that are too short or have a nearly empty spectrogram.

    The level is absolute: at 16 kHz, white noise below -48 dB (RMS, relative to full scale) is dropped. Earlier steps
    that change the level therefore change the result. The spectrogram has the paper's settings at any sample rate:
    n_fft 512, hop 256, 128 mel bands with Slaney's norm, and log(power + 1e-6) / 2 of the unnormalised STFT. Deviation:
    its ends are padded with silence, where the paper's code reflects the sound, so that clips of any length work.

    Args:
        min_seconds: Clips of this duration or less are dropped, in seconds.
        threshold: Level below which a value is empty: the natural logarithm of an amplitude, above the floor of -6.9.
        empty_fraction: Fraction of empty values from which a clip is dropped, in (0, 1].

    Raises:
        ValueError: If `min_seconds` is negative, `threshold` is at or below the floor, or `empty_fraction` is outside
            (0, 1].
    """

    min_seconds: float = 0.05
    threshold: float = -4.0
    empty_fraction: float = 0.98

    def __post_init__(self) -> None:
        if not self.min_seconds >= 0:
            raise ValueError(f"expected min_seconds >= 0, got {self.min_seconds}")
        if not self.threshold > math.log(LOG_FLOOR) / 2:
            raise ValueError(f"expected threshold > {math.log(LOG_FLOOR) / 2:.2f}, got {self.threshold}")
        if not 0 < self.empty_fraction <= 1:
            raise ValueError(f"expected empty_fraction in (0, 1], got {self.empty_fraction}")

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return wav, float32 [C, T], unchanged.

        Raises:
            AudioFileError: If the clip is too short or nearly empty.
        """
        seconds = wav.shape[-1] / sample_rate
        if seconds <= self.min_seconds:
            raise AudioFileError(f"too short ({seconds:.3f} s, need more than {self.min_seconds:g} s)")
        empty = _log_mel(wav, sample_rate) < self.threshold
        fraction = int(empty.sum()) / empty.numel()
        if fraction >= self.empty_fraction:
            raise AudioFileError(f"nearly empty ({fraction:.1%} of its log-mel is below {self.threshold:g})")
        return wav


def _log_mel(wav: Tensor, sample_rate: int) -> Tensor:
    """Return the paper's log-mel spectrogram, float [C, F, L], of wav [C, T]."""
    return torch.log(_mel(sample_rate)(wav) + LOG_FLOOR) / 2


@lru_cache
def _mel(sample_rate: int) -> MelSpectrogram:
    with warnings.catch_warnings():
        # At high sample rates some bands are too narrow to contain a bin. They always count as empty.
        warnings.simplefilter("ignore")
        return MelSpectrogram(
            sample_rate, n_fft=512, hop_length=256, n_mels=128, norm="slaney", mel_scale="slaney", pad_mode="constant"
        )
