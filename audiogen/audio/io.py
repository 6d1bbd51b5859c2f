"""Read and write sound files: the only place that touches soundfile."""

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

# Sizes from here on are placeholders of programs that wrote to a pipe: 0xFFFFFFFF (ffmpeg), 0x7FFFF000 (sox).
_PLACEHOLDER_BYTES = 0x7FFFF000
MAX_PEAK = 100.0  # times full scale
RATES = (1000, 1_000_000)  # in Hz; a second at 1 Hz would be resampled to a thousand times its size
# A constant FLAC frame has 65,535 samples in 11 bytes; no other format here packs more.
_MAX_SAMPLES_PER_BYTE = 8192
_LARGEST_PAGE = 65307  # bytes of an Ogg page
_SKIPPED_BLOCK = 1 << 20  # samples at a time
_WRITTEN_AT_ONCE = 1 << 16  # samples; libsndfile 1.2.2 puts all it encodes to Vorbis on the stack
_FAILURES = (soundfile.LibsndfileError, AssertionError)  # the latter where less was written than was given
_CLOSED_IN_PLACE = ("WAV", "AIFF")  # whose last act is to correct the header
# Encodings in which libsndfile can go to any sample. In others it can only read on (GSM) or ends up beside it (MP3).
_SEEKABLE = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})
_STREAM_SECONDS = 10  # whole seconds are whole numbers of samples at any rate


class AudioFileError(ValueError):
    """A sound file that cannot be used; the message is the reason, without the path."""


class AudioWriteError(ValueError):
    """A sound that cannot be written as asked."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says.

    Attributes:
        num_samples: T of the whole file.
        sample_rate: In Hz.
        num_channels: Of the file.
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
        """Duration of the file."""
        return self.num_samples / self.sample_rate


def audio_info(path: str | Path, min_seconds: float = 0.0) -> AudioInfo:
    """Read the header of a sound file.

    Args:
        path: A file that libsndfile reads.
        min_seconds: Shorter files are refused.

    Raises:
        AudioFileError: Where the file is missing, unreadable, empty, too short or shorter than its header says, and
            where the header says what cannot be.
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
    """Read a sound file as a waveform of a given sample rate and channel count.

    Args:
        path: A file that libsndfile reads; `READ_SUFFIXES` has their suffixes.
        sample_rate: Wanted rate in Hz; other rates are resampled.
        num_channels: Wanted channels. 1 takes the mean over the file's channels; a mono file is copied to all wanted
            channels; anything else must match.

    Returns:
        wav, float32 [C, T], in [-1, 1] for files within full scale.

    Raises:
        AudioFileError: Where the file is missing, unreadable, empty, cut short, without sound or not finite.
    """
    return require_sound(next(read_parts(path, sample_rate, num_channels, [(0.0, math.inf)])))


def read_parts(
    path: str | Path,
    sample_rate: int,
    num_channels: int,
    parts: Sequence[tuple[float, float]],
    info: AudioInfo | None = None,
) -> Iterator[Tensor]:
    """Read parts of a sound file one by one, without holding the others in memory.

    Args:
        path: As for `read_audio`.
        sample_rate: Wanted rate in Hz.
        num_channels: Wanted channels.
        parts: Start and duration of each in seconds, in ascending order without overlaps; what lies beyond the end is
        left out.
        info: The file's header where it has been read already.

    Yields:
        wav, float32 [C, T], of each part.

    Raises:
        AudioFileError: As `read_audio`, but for parts without sound.
    """
    info = info or audio_info(path)
    kind = soundfile.SoundFile if info.subtype in _SEEKABLE else _Forward
    with _source(path) as source, kind(source) as file:
        for start_seconds, seconds in parts:
            start = min(round(start_seconds * info.sample_rate), info.num_samples)
            num = min(info.num_samples - start, math.ceil(min(seconds, info.seconds) * info.sample_rate))
            samples = _read_part(file, path, start, num)
            if len(samples) < num and not isinstance(source, CountedMP3):  # a frame without its beginning gives nothing
                raise AudioFileError(f"cut short ({start + len(samples)} of {info.num_samples} samples)")
            wav = _fit_channels(torch.from_numpy(samples.T.copy()), num_channels)  # [C, T]
            _check_samples(wav)
            yield resample(wav, info.sample_rate, sample_rate)


def stream_audio(path: str | Path, sample_rate: int, num_channels: int = 1) -> Iterator[Tensor]:
    """Read a sound file part by part; the parts together are the whole, resampled as one.

    Args:
        path: As for `read_audio`.
        sample_rate: Wanted rate in Hz.
        num_channels: Wanted channels.

    Yields:
        wav, float32 [C, T], of a few seconds each.

    Raises:
        AudioFileError: As `read_audio`, but for files without sound.
    """
    info = audio_info(path)
    parts = [(float(start), float(_STREAM_SECONDS)) for start in range(0, math.ceil(info.seconds), _STREAM_SECONDS)]
    yield from resample_parts(
        read_parts(path, info.sample_rate, num_channels, parts, info), info.sample_rate, sample_rate
    )


def require_sound(wav: Tensor, which: str = "every sample is") -> Tensor:
    """Return wav, float [C, T], unless there is nothing to hear in it; `which` words the reason.

    Raises:
        AudioFileError: Where every sample is the same.
    """
    lowest, highest = (wav.amin(dim=1), wav.amax(dim=1)) if wav.numel() else (wav, wav)
    if not (lowest != highest).any():
        raise AudioFileError(f"silent ({which} the same)")
    return wav


def write_audio(path: str | Path, wav: Tensor, sample_rate: int) -> None:
    """Write a waveform as a 16-bit file, clipping what lies beyond full scale.

    Args:
        path: Target; its suffix chooses the format. Missing folders are made.
        wav: float [C, T], full scale is [-1, 1].
        sample_rate: In Hz.

    Raises:
        ValueError: Where `wav` is not [C, T] or not finite, and for a suffix of no known format.
    """
    if wav.ndim != 2:
        raise ValueError(f"expected wav [C, T], got {list(wav.shape)}")
    with audio_writer(path, sample_rate, len(wav)) as write:
        write(wav)


@contextmanager
def audio_writer(path: str | Path, sample_rate: int, num_channels: int) -> Iterator[Callable[[Tensor], None]]:
    """Open a file to write a waveform part by part. It appears when it is whole.

    Args:
        path: Target; its suffix chooses the format. Missing folders are made.
        sample_rate: In Hz.
        num_channels: Of the waveform.

    Yields:
        A function that appends a part, float [C, T]; it clips what lies beyond full scale. It raises an AudioWriteError
        for samples that are not finite, and an OSError on a full disk. A caller that catches the latter keeps what was
        written before, in formats that need no more room to be closed (wav, aiff).

    Raises:
        AudioWriteError: For a suffix of no known format, and a sample rate that the format does not have.
        OSError: If the file cannot be written, such as on a full disk.
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
            """Append a part; see above."""
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
        if file.failure is not None and not (file.is_told and container in _CLOSED_IN_PLACE):
            raise file.failure


class _OutputFile:
    """A file for libsndfile to write to, which keeps the system's error: libsndfile itself reports a format error."""

    def __init__(self, file: Any) -> None:
        self._raw = file.raw  # a buffer would write again, and fail again, on each seek
        self.failure: OSError | None = None
        self.is_told = False  # whether the caller has seen the failure
        self.seek, self.tell, self.readinto = self._raw.seek, self._raw.tell, self._raw.readinto

    def write(self, data: Any) -> int:
        """Write all, or note why that failed."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._raw.write(left) :]
        except OSError as error:
            self.failure = self.failure or OSError(error.errno, error.strerror)
        return len(data) - len(left)

    @contextmanager
    def own_failures(self) -> Iterator[None]:
        """Raise the system's error in the place of libsndfile's.

        Raises:
            OSError: If writing has failed, now or before.
        """
        try:
            yield
        except _FAILURES:
            if self.failure is None:
                raise
        if self.failure is not None:
            self.is_told = True
            raise self.failure


def _promised_samples(path: str | Path, info: Any) -> int:
    """Return how many samples the header announces; 0 where it announces none.

    libsndfile reads a file that was cut short without an error. It lowers the count of a WAV or AIFF file, whose log
    alone tells the size in the header.
    """
    sizes = re.search(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", info.extra_info, re.MULTILINE)
    if sizes and int(sizes[1]) < _PLACEHOLDER_BYTES:
        return round(info.frames * int(sizes[1]) / max(int(sizes[2]), 1))
    return 0


def _has_last_page(path: str | Path) -> bool:
    """Tell whether an Ogg file ends with a whole page that is marked as the end of the stream.

    libsndfile does not look. Layout of a page: RFC 3533, section 6.
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
    """A file that is only read forward: after a seek, libsndfile gives samples of MP3 and Ogg files from beside it.

    soundfile seeks after each reading of a seekable file, to where it is.
    """

    position = 0

    def seekable(self) -> bool:
        """Return False."""
        return False

    def seek(self, frames: int, whence: int = 0) -> int:
        """Read up to a place further on."""
        while self.position < frames and len(self.read(min(frames - self.position, _SKIPPED_BLOCK))):
            pass
        return self.position

    def read(self, frames: int = -1, *args: Any, **options: Any) -> np.ndarray:
        """Read the next samples, [T, C]."""
        samples = super().read(frames, *args, **options)
        self.position += len(samples)
        return samples


def _read_part(file: soundfile.SoundFile, path: str | Path, start: int, num: int) -> np.ndarray:
    """Return samples start ... start + num, float32 [T, C]."""
    try:
        file.seek(start)
        return file.read(num, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"unreadable ({_reason(error, path)})") from error


@contextmanager
def _source(path: str | Path) -> Iterator[bytes | CountedMP3]:
    """Yield what soundfile can open: the name of a file, or an MP3 file with its frames counted.

    Raises:
        OSError: Where a file cannot be read.
    """
    counted = counted_mp3(Path(path))
    if counted is None:
        yield os.fsencode(path)  # names need not be UTF-8
    else:
        with counted:
            yield counted


def _check_samples(wav: Tensor) -> None:
    peak = float(wav.abs().max()) if wav.numel() else 0.0
    if not math.isfinite(peak):
        raise AudioFileError("not finite (NaN or Inf samples)")
    if peak > MAX_PEAK:
        raise AudioFileError(f"too loud (peak {peak:.3g} times full scale: is it in another unit?)")


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
        return "a link to nothing" if Path(path).is_symlink() else "no such file"
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return "no read permission"
    suffix = Path(path).suffix.lower()
    if suffix in UNREADABLE_SUFFIXES:
        return f"{suffix} is not a format that is read: convert it, for example with ffmpeg -i NAME{suffix} NAME.flac"
    return re.sub("^Error opening .*: ", "", str(error)).rstrip(".")
