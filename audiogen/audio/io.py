"""Read and write audio files. No other module uses soundfile."""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from audiogen.atomic import replacing
from audiogen.audio.formats import AUDIO_SUFFIXES, CONTAINERS, UNREADABLE_SUFFIXES
from audiogen.audio.mpeg import CountedMP3, counted_mp3
from audiogen.audio.resample import resample, resample_parts
from audiogen.untrusted import is_regular

# Sizes from here up are placeholders, written by programs that output to a pipe: 0xFFFFFFFF (ffmpeg), 0x7FFFF000 (sox).
_PLACEHOLDER_BYTES = 0x7FFFF000
MAX_PEAK = 100.0  # relative to full scale
RATES = (1000, 1_000_000)  # Hz; resampling 1 s from 1 Hz would enlarge it a thousandfold
# A constant FLAC frame has 65,535 samples in 11 bytes; no other format here packs more.
_MAX_SAMPLES_PER_BYTE = 8192
_LARGEST_PAGE = 65307  # bytes of an Ogg page
_SKIPPED_BLOCK = 1 << 20  # samples read at a time to skip forward
_WRITTEN_AT_ONCE = 1 << 16  # samples; libsndfile 1.2.2 puts everything it encodes to Vorbis on the stack
_FAILURES = (soundfile.LibsndfileError, AssertionError)  # AssertionError: fewer samples were written than given
_CLOSED_IN_PLACE = ("WAV", "AIFF")  # closing only rewrites the header
# Encodings with sample-accurate seeking in libsndfile. Others read only forward (GSM) or seek inexactly (MP3).
_SEEKABLE = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})
_STREAM_SECONDS = 10  # a whole number of seconds is a whole number of samples at any rate


class AudioFileError(ValueError):
    """An audio file cannot be used. The message gives the reason without the path."""


class AudioWriteError(ValueError):
    """Audio cannot be written as requested."""


@dataclass(frozen=True)
class AudioInfo:
    """Header of an audio file.

    Attributes:
        num_samples: T, the number of samples per channel.
        sample_rate: Sample rate in Hz.
        num_channels: C, the number of channels.
        format: libsndfile's name of the container.
        subtype: libsndfile's name of the encoding.
    """

    num_samples: int
    sample_rate: int
    num_channels: int
    format: str
    subtype: str = "PCM_16"

    @property
    def seconds(self) -> float:
        """Duration of the file in seconds."""
        return self.num_samples / self.sample_rate


def audio_info(path: str | Path, min_seconds: float = 0.0) -> AudioInfo:
    """Read and check the header of an audio file.

    Args:
        path: File in a format that libsndfile reads.
        min_seconds: Shortest duration to accept, in seconds.

    Raises:
        AudioFileError: If the file is missing, unreadable, empty, shorter than `min_seconds` or truncated, or if the
            header contains impossible values.
    """
    if os.path.exists(path) and not is_regular(Path(path)):
        raise AudioFileError("unreadable (not a regular file)")
    try:
        with _source(path) as source:
            info = soundfile.info(source)
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"unreadable ({_reason(error, path)})") from error
    if not RATES[0] <= info.samplerate <= RATES[1]:
        raise AudioFileError(f"impossible (a sample rate of {info.samplerate} Hz)")
    if info.frames > _MAX_SAMPLES_PER_BYTE * os.path.getsize(path):
        raise AudioFileError(f"impossible ({info.frames} samples in {os.path.getsize(path)} bytes)")
    if info.format == "OGG" and not _has_last_page(path):
        raise AudioFileError("cut short (the last page of the stream is missing)")
    if info.frames == 0:
        raise AudioFileError("empty (0 samples)")
    if info.frames / info.samplerate < min_seconds:
        raise AudioFileError(f"too short ({info.frames / info.samplerate:.3f} s, need {min_seconds:g} s)")
    promised = _promised_samples(path, info)
    if promised > info.frames:
        raise AudioFileError(f"cut short ({info.frames} of {promised} samples)")
    return AudioInfo(info.frames, info.samplerate, info.channels, info.format, info.subtype)


def read_audio(path: str | Path, sample_rate: int, num_channels: int = 1) -> Tensor:
    """Read an audio file, converted to a given sample rate and channel count.

    Args:
        path: File in a format that libsndfile reads (see `READ_SUFFIXES`).
        sample_rate: Sample rate of the result in Hz; files with other rates are resampled.
        num_channels: Channels of the result. 1 averages the file's channels. A mono file is copied to all channels. Any
            other mismatch is an error.

    Returns:
        wav, float32 [C, T], in [-1, 1] for files within full scale.

    Raises:
        AudioFileError: If the file is missing, unreadable, empty, truncated, silent, not finite or louder than
            `MAX_PEAK`, or if its channel count does not fit.
    """
    return require_sound(next(read_parts(path, sample_rate, num_channels, [(0.0, math.inf)])))


def read_parts(
    path: str | Path,
    sample_rate: int,
    num_channels: int,
    parts: Sequence[tuple[float, float]],
    info: AudioInfo | None = None,
) -> Iterator[Tensor]:
    """Read parts of an audio file one by one, with only one part in memory at a time.

    Args:
        path: See `read_audio`.
        sample_rate: Sample rate of the result in Hz.
        num_channels: Channels of the result.
        parts: (start, duration) of each part in seconds, ascending and without overlaps. A part that reaches past the
            end of the file is shortened.
        info: Header of the file, if it has already been read.

    Yields:
        wav, float32 [C, T], for each part.

    Raises:
        AudioFileError: As in `read_audio`, but silent parts are allowed.
    """
    info = info or audio_info(path)
    kind = soundfile.SoundFile if info.subtype in _SEEKABLE else _Forward
    with _source(path) as source, kind(source) as file:
        for start_seconds, seconds in parts:
            start = min(round(start_seconds * info.sample_rate), info.num_samples)
            num = min(info.num_samples - start, math.ceil(min(seconds, info.seconds) * info.sample_rate))
            samples = _read_part(file, path, start, num)
            # An MP3 frame that refers to data before the start of the file decodes to nothing.
            if len(samples) < num and not isinstance(source, CountedMP3):
                raise AudioFileError(f"cut short ({start + len(samples)} of {info.num_samples} samples)")
            wav = _fit_channels(torch.from_numpy(samples.T.copy()), num_channels)  # [C, T]
            _check_samples(wav)
            yield resample(wav, info.sample_rate, sample_rate)


def stream_audio(path: str | Path, sample_rate: int, num_channels: int = 1) -> Iterator[Tensor]:
    """Read an audio file in consecutive parts, resampled as one continuous signal.

    Args:
        path: See `read_audio`.
        sample_rate: Sample rate of the result in Hz.
        num_channels: Channels of the result.

    Yields:
        wav, float32 [C, T], of about 10 s each.

    Raises:
        AudioFileError: As in `read_audio`, but silent files are allowed.
    """
    info = audio_info(path)
    parts = [(float(start), float(_STREAM_SECONDS)) for start in range(0, math.ceil(info.seconds), _STREAM_SECONDS)]
    yield from resample_parts(
        read_parts(path, info.sample_rate, num_channels, parts, info), info.sample_rate, sample_rate
    )


def require_sound(wav: Tensor, which: str = "every sample is") -> Tensor:
    """Return wav, float [C, T], after checking that it is not silent; `which` is part of the error message.

    Raises:
        AudioFileError: If every channel is constant.
    """
    lowest, highest = (wav.amin(dim=1), wav.amax(dim=1)) if wav.numel() else (wav, wav)
    if not (lowest != highest).any():
        raise AudioFileError(f"silent ({which} the same)")
    return wav


def write_audio(path: str | Path, wav: Tensor, sample_rate: int) -> None:
    """Write a waveform as a 16-bit file. Samples beyond full scale are clipped.

    Args:
        path: Target file; its suffix chooses the format. Missing folders are created.
        wav: float [C, T], full scale is [-1, 1].
        sample_rate: Sample rate in Hz.

    Raises:
        ValueError: If `wav` is not [C, T] or not finite, or as in `audio_writer`.
        OSError: As in `audio_writer`.
    """
    if wav.ndim != 2:
        raise ValueError(f"expected wav [C, T], got {list(wav.shape)}")
    with audio_writer(path, sample_rate, len(wav)) as write:
        write(wav)


@contextmanager
def audio_writer(path: str | Path, sample_rate: int, num_channels: int) -> Iterator[Callable[[Tensor], None]]:
    """Open a file to write a waveform part by part. The file appears at `path` only once it is complete.

    Args:
        path: Target file; its suffix chooses the format. Missing folders are created.
        sample_rate: Sample rate in Hz.
        num_channels: C, the number of channels.

    Yields:
        A function that appends one part, float [C, T], and clips samples beyond full scale. It raises AudioWriteError
        if samples are not finite, and OSError on a full disk. A caller that catches the OSError keeps the parts written
        before it in formats that need no extra space to be closed (WAV, AIFF).

    Raises:
        AudioWriteError: If the suffix is unknown or the format does not support the sample rate.
        OSError: If the file cannot be written, for example on a full disk.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    container, subtype = CONTAINERS.get(suffix, suffix[1:].upper()), "OPUS" if suffix == ".opus" else None
    if suffix not in AUDIO_SUFFIXES:
        raise AudioWriteError(f"{target} should end in one of {', '.join(sorted(AUDIO_SUFFIXES))}")
    if subtype is None and soundfile.check_format(container, "PCM_16"):
        subtype = "PCM_16"

    with replacing(target, durable=False) as part:
        file = _OutputFile(part)

        def write(wav: Tensor) -> None:
            """Append one part."""
            if not torch.isfinite(wav).all():
                raise AudioWriteError(f"wav for {target} is not finite (NaN or Inf samples)")
            for block in wav.detach().cpu().float().clamp(-1, 1).T.split(_WRITTEN_AT_ONCE):
                with file.own_failures():
                    sound.write(block.numpy())

        try:
            with soundfile.SoundFile(file, "w", sample_rate, num_channels, format=container, subtype=subtype) as sound:
                yield write
        except _FAILURES as error:
            if file.failure is None:
                raise AudioWriteError(
                    f"{target} cannot be written at {sample_rate} Hz as {container}: {error}"
                ) from error
        if file.failure is not None and not (file.is_reported and container in _CLOSED_IN_PLACE):
            raise file.failure


class _OutputFile:
    """Output for libsndfile that keeps the operating system's error; libsndfile would report a format error."""

    def __init__(self, file: Any) -> None:
        self._raw = file.raw  # a buffered file would retry the write, and fail again, on every seek
        self.failure: OSError | None = None
        self.is_reported = False  # whether the failure was raised to the caller
        self.seek, self.tell, self.readinto = self._raw.seek, self._raw.tell, self._raw.readinto

    def write(self, data: Any) -> int:
        """Write everything, or record why that failed."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._raw.write(left) :]
        except OSError as error:
            self.failure = self.failure or OSError(error.errno, error.strerror)
        return len(data) - len(left)

    @contextmanager
    def own_failures(self) -> Iterator[None]:
        """Raise the operating system's error instead of libsndfile's if this or an earlier write failed."""
        try:
            yield
        except _FAILURES:
            if self.failure is None:
                raise
        if self.failure is not None:
            self.is_reported = True
            raise self.failure


def _promised_samples(path: str | Path, info: Any) -> int:
    """Return the number of samples promised by the header, or 0 if unknown.

    libsndfile reads truncated files without an error. For WAV and AIFF it reduces the sample count to fit; only its log
    still contains the header's size.
    """
    sizes = re.search(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", info.extra_info, re.MULTILINE)
    if sizes and int(sizes[1]) < _PLACEHOLDER_BYTES:
        return round(info.frames * int(sizes[1]) / max(int(sizes[2]), 1))
    return 0


def _has_last_page(path: str | Path) -> bool:
    """Return whether an Ogg file ends with a complete page marked as the end of the stream.

    libsndfile does not check this. Page layout: RFC 3533, section 6.
    """
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - _LARGEST_PAGE, 0))
        end = file.read()
    page = end[end.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & 4:
        return False
    segments = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(segments)


class _Forward(soundfile.SoundFile):
    """A file read only forward, because libsndfile seeks inexactly in MP3 and Ogg files.

    soundfile seeks to the current position after every read of a seekable file, so `seekable` must return False.
    """

    position = 0

    def seekable(self) -> bool:
        return False

    def seek(self, frames: int, whence: int = 0) -> int:
        """Read and discard samples up to position `frames`."""
        while self.position < frames and len(self.read(min(frames - self.position, _SKIPPED_BLOCK))):
            pass
        return self.position

    def read(self, frames: int = -1, *args: Any, **options: Any) -> np.ndarray:
        """Read the next samples, [T, C], and advance the position."""
        samples = super().read(frames, *args, **options)
        self.position += len(samples)
        return samples


def _read_part(file: soundfile.SoundFile, path: str | Path, start: int, num: int) -> np.ndarray:
    """Return samples start ... start + num as float32 [T, C]."""
    try:
        file.seek(start)
        return file.read(num, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"unreadable ({_reason(error, path)})") from error


@contextmanager
def _source(path: str | Path) -> Iterator[bytes | CountedMP3]:
    """Yield an object soundfile can open: the encoded path, or an MP3 file with a corrected frame count.

    Raises:
        OSError: If the file cannot be read.
    """
    counted = counted_mp3(Path(path))
    if counted is None:
        yield os.fsencode(path)  # file names need not be UTF-8
    else:
        with counted:
            yield counted


def _check_samples(wav: Tensor) -> None:
    peak = float(wav.abs().max()) if wav.numel() else 0.0
    if not math.isfinite(peak):
        raise AudioFileError("not finite (NaN or Inf samples)")
    if peak > MAX_PEAK:
        raise AudioFileError(f"too loud (peak {peak:.3g} times full scale: are the samples in another unit?)")


def _fit_channels(wav: Tensor, num_channels: int) -> Tensor:
    """Convert wav [C, T] to [num_channels, T] by averaging or copying channels."""
    if len(wav) == num_channels:
        return wav
    if num_channels == 1:
        return wav.mean(dim=0, keepdim=True)
    if len(wav) == 1:
        return wav.expand(num_channels, -1)
    raise AudioFileError(f"{len(wav)} channels, need 1 or {num_channels}")


def _reason(error: Exception, path: str | Path) -> str:
    """Return libsndfile's message without the path: the caller names the file."""
    if not Path(path).exists():
        return "broken symbolic link" if Path(path).is_symlink() else "no such file"
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return "no read permission"
    suffix = Path(path).suffix.lower()
    if suffix in UNREADABLE_SUFFIXES:
        return f"{suffix} is not a supported format: convert it, for example with ffmpeg -i NAME{suffix} NAME.flac"
    return re.sub("^Error opening .*: ", "", str(error)).rstrip(".")
