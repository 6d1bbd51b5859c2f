"""Read and write sound files: the only place that touches soundfile."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from audiogen.audio.resample import resample

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus"})


# Sizes from here on are placeholders of programs that wrote to a pipe: 0xFFFFFFFF (ffmpeg), 0x7FFFF000 (sox).
_PLACEHOLDER_BYTES = 0x7FFFF000
_FORMATS = {".aif": "AIFF"}


class AudioFileError(ValueError):
    """A sound file that cannot be used; the message is the reason, without the path."""


def read_audio(path: str | Path, sample_rate: int, num_channels: int = 1, min_seconds: float = 0.0) -> Tensor:
    """Read a sound file as a waveform of a given sample rate and channel count.

    Args:
        path: A file that libsndfile reads (wav, flac, ogg, mp3, aiff, opus).
        sample_rate: Wanted rate in Hz; other rates are resampled.
        num_channels: Wanted channels. 1 takes the mean over the file's channels; a mono file is copied to all wanted
            channels; anything else must match.
        min_seconds: Shorter files are refused.

    Returns:
        wav, float32 [C, T], in [-1, 1] for files within full scale.

    Raises:
        AudioFileError: Where the file is missing, unreadable, empty, cut short, too short, silent or not finite.
    """
    try:
        info = soundfile.info(path)
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"unreadable ({_reason(error, path)})") from error
    if info.frames == 0:
        raise AudioFileError("empty (0 samples)")
    if info.frames / info.samplerate < min_seconds:
        raise AudioFileError(f"too short ({info.frames / info.samplerate:.3f} s, need {min_seconds:g} s)")
    try:
        samples, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"unreadable ({_reason(error, path)})") from error
    promised = _promised_samples(path, info)
    if len(samples) < promised:
        raise AudioFileError(f"cut short ({len(samples)} of {promised} samples)")
    if not np.isfinite(samples).all():
        raise AudioFileError("not finite (NaN or Inf samples)")
    if not samples.any():
        raise AudioFileError("silent (every sample is 0)")
    wav = _fit_channels(torch.from_numpy(samples.T.copy()), num_channels)  # [C, T]
    return resample(wav, file_rate, sample_rate)


def write_audio(path: str | Path, wav: Tensor, sample_rate: int) -> None:
    """Write a waveform as a 16-bit file, clipping what lies beyond full scale.

    Args:
        path: Target; its suffix chooses the format. Missing folders are made.
        wav: float [C, T], full scale is [-1, 1].
        sample_rate: In Hz.

    Raises:
        ValueError: Where `wav` is not [C, T] or not finite.
    """
    if wav.ndim != 2:
        raise ValueError(f"expected wav [C, T], got {list(wav.shape)}")
    if not torch.isfinite(wav).all():
        raise ValueError(f"wav for {path} is not finite (NaN or Inf samples)")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    suffix = Path(path).suffix.lower()
    container, subtype = ("OGG", "OPUS") if suffix == ".opus" else (_FORMATS.get(suffix, suffix[1:].upper()), None)
    if subtype is None and soundfile.check_format(container, "PCM_16"):
        subtype = "PCM_16"
    samples = wav.detach().cpu().float().clamp(-1, 1).T.numpy()
    soundfile.write(path, samples, sample_rate, format=container, subtype=subtype)


def _promised_samples(path: str | Path, info: Any) -> int:
    """Return how many samples the header announces; 0 where it announces none.

    libsndfile reads a file that was cut short without an error. It lowers the count of a WAV or AIFF file, whose log
    alone tells the size in the header, and guesses that of an MP3 file without a Xing or Info frame.
    """
    sizes = re.search(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", info.extra_info, re.MULTILINE)
    if sizes and int(sizes[1]) < _PLACEHOLDER_BYTES:
        return round(info.frames * int(sizes[1]) / max(int(sizes[2]), 1))
    if info.format == "MP3":
        with open(path, "rb") as file:
            start = file.read(65536)
        if b"Xing" not in start and b"Info" not in start:
            return 0
    return int(info.frames)


def _fit_channels(wav: Tensor, num_channels: int) -> Tensor:
    """Turn wav [C, T] into [num_channels, T]."""
    if len(wav) == num_channels:
        return wav
    if num_channels == 1:
        return wav.mean(dim=0, keepdim=True)
    if len(wav) == 1:
        return wav.expand(num_channels, -1)
    raise AudioFileError(f"{len(wav)} channels, need 1 or {num_channels}")


def _reason(error: Exception, path: str | Path) -> str:
    """Take the path out of libsndfile's message: the caller names the file."""
    if not Path(path).exists():
        return "no such file"
    return str(error).replace(f"Error opening {str(path)!r}: ", "").rstrip(".")
