"""MP3 files whose length is not declared, or declared wrong, are decoded to their end."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import Tensor

from audiogen.audio import mpeg
from audiogen.audio.io import AudioFileError, audio_info, read_audio


def mp3_frames(content: bytes) -> list[bytes]:
    """Return the frames of an MP3 file that soundfile wrote; the first only declares how many follow."""
    starts = [start for start, _ in mpeg._frames(memoryview(content))]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def write_mp3(
    path: Path, quiet_first: bool, mode: str = "VARIABLE", sample_rate: int = 16000, channels: int = 1
) -> Tensor:
    """Write 4 s of noise, 1 s of it quiet, and return the waveform read back."""
    time = np.arange(4 * sample_rate) / sample_rate
    level = np.where((time < 1) == quiet_first, 1e-4, 0.3)
    noise = np.random.default_rng(0).standard_normal(len(time)) * level
    noise = np.repeat(noise[:, None], channels, axis=1)
    soundfile.write(path, noise, sample_rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return read_audio(path, sample_rate)


@pytest.mark.parametrize("quiet_first", [True, False])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
@pytest.mark.parametrize(("sample_rate", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x00\x16TIT2 Information, Xing"])
def test_mp3_without_a_frame_count_is_decoded_to_its_end(
    tmp_path: Path, quiet_first: bool, mode: str, sample_rate: int, channels: int, tag: bytes
) -> None:
    """libsndfile guesses the length from the first bit rate: too long after a quiet beginning, too short before one."""
    path = tmp_path / "a.mp3"
    whole = write_mp3(path, quiet_first, mode, sample_rate, channels)
    frames = mp3_frames(path.read_bytes())
    path.write_bytes(tag + b"".join(frames[1:]))
    if mode == "VARIABLE":
        assert abs(soundfile.info(path).frames / sample_rate - 4) > 0.5
    wav = read_audio(path, sample_rate)
    assert wav.shape[1] == pytest.approx(whole.shape[1], abs=2 * 1152)
    delay = wav.shape[1] - whole.shape[1]  # the encoder's, which the first frame declared
    close = [float((wav[:, n : n + 2000] - whole[:, :2000]).abs().max()) for n in range(max(delay, 0) + 1)]
    assert min(close) < 0.05 or quiet_first
    assert audio_info(path).num_samples == wav.shape[1]


def test_joined_mp3_files_are_decoded_to_the_end_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    whole = write_mp3(path, quiet_first=False)
    path.write_bytes(path.read_bytes() * 2)
    assert read_audio(path, 16000).shape[1] == pytest.approx(2 * whole.shape[1], abs=4 * 1152)


def test_mp3_with_a_correct_frame_count_is_read_unchanged(tmp_path: Path) -> None:
    write_mp3(tmp_path / "a.mp3", quiet_first=True)
    assert mpeg.counted_mp3(tmp_path / "a.mp3") is None
    assert audio_info(tmp_path / "a.mp3").num_samples == 64000


@pytest.mark.parametrize(
    "junk", [b"\xff\xfb", b"\xff\xe3\x18\xc4" * 9, b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", b"\xff" * 4000]
)
def test_file_that_only_starts_like_an_mp3_is_refused(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(junk)
    with pytest.raises(AudioFileError):
        read_audio(tmp_path / "a.mp3", 16000)


def test_mp3_with_junk_between_its_frames_is_decoded_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    whole = write_mp3(path, quiet_first=True)
    frames = mp3_frames(path.read_bytes())
    middle = len(frames) // 2
    path.write_bytes(
        b"".join([*frames[1:middle], b"\xff no frame \xff\xfb" * 20, *frames[middle:], b"TAG" + bytes(125)])
    )
    assert read_audio(path, 16000).shape[1] == pytest.approx(whole.shape[1], abs=4 * 1152)
