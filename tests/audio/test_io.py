"""Audio files read back as written, and every bad file is refused with its reason."""

import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.formats import AUDIO_SUFFIXES, READ_SUFFIXES
from audiogen.audio.io import (
    AudioFileError,
    AudioInfo,
    audio_info,
    audio_writer,
    read_audio,
    read_parts,
    write_audio,
)

WriteTone = Callable[..., Path]
FREQUENCY = 440.0
LSB = 2**-15  # of 16-bit files


def sine(sample_rate: int, num_samples: int, frequency: float = FREQUENCY) -> Tensor:
    return 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(num_samples, dtype=torch.float64) / sample_rate)


def dominant_frequency(wav: Tensor, sample_rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(wav.numpy() * np.hanning(len(wav)), 2**18))
    return float(np.argmax(spectrum)) * sample_rate / 2**18


def middle(wav: Tensor) -> Tensor:
    """Leave out the ends, where resampling filters and lossy codecs ring."""
    return wav[..., wav.shape[-1] // 4 : -(wav.shape[-1] // 4)]


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES))
def test_every_suffix_reads_with_the_right_pitch_and_level(write_tone: WriteTone, suffix: str) -> None:
    wav = read_audio(write_tone(f"a{suffix}", 16000), 16000)
    assert wav.dtype == torch.float32
    assert wav.shape == (1, 4000)
    assert dominant_frequency(middle(wav[0]), 16000) == pytest.approx(FREQUENCY, rel=2e-3)
    assert middle(wav).square().mean().sqrt() == pytest.approx(0.5 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
def test_lossless_file_returns_what_was_written_to_16_bits(tmp_path: Path, suffix: str) -> None:
    wav = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_audio(tmp_path / f"a{suffix}", wav, 16000)
    # Half a step of rounding, and up to one step because libsndfile scales by 32767 and back by 32768.
    assert (read_audio(tmp_path / f"a{suffix}", 16000, 2) - wav).abs().max() <= 1.5 * LSB


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_file_is_written_with_the_right_pitch_and_level(tmp_path: Path, suffix: str) -> None:
    write_audio(tmp_path / f"a{suffix}", sine(16000, 8000)[None], 16000)
    wav = read_audio(tmp_path / f"a{suffix}", 16000)
    assert wav.shape == (1, 8000)
    assert dominant_frequency(middle(wav[0]), 16000) == pytest.approx(FREQUENCY, rel=2e-3)
    assert middle(wav).square().mean().sqrt() == pytest.approx(0.5 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_a_minute_of_lossy_audio_does_not_crash_libsndfile(tmp_path: Path, suffix: str) -> None:
    write_audio(tmp_path / f"a{suffix}", 0.1 * torch.ones(2, 48000 * 60), 48000)
    assert audio_info(tmp_path / f"a{suffix}").num_samples == 48000 * 60


@pytest.mark.parametrize(("file_rate", "sample_rate"), [(8000, 16000), (44100, 16000), (48000, 22050), (16000, 8000)])
def test_resampled_sine_is_the_sine_at_the_new_rate(write_tone: WriteTone, file_rate: int, sample_rate: int) -> None:
    wav = read_audio(write_tone("a.wav", file_rate), sample_rate)
    assert wav.shape == (1, round(0.25 * sample_rate))
    torch.testing.assert_close(middle(wav)[0].double(), middle(sine(sample_rate, wav.shape[1])), rtol=0, atol=2e-4)


def test_resampling_removes_frequencies_above_the_new_nyquist(write_tone: WriteTone) -> None:
    wav = read_audio(write_tone("a.wav", 16000, frequency=6000), 8000)
    assert middle(wav).abs().max() < 1e-4  # would alias to 2 kHz at 0.5


def test_several_channels_become_their_mean(tmp_path: Path) -> None:
    samples = np.stack([np.linspace(0, 0.5, 101), np.linspace(0, -0.25, 101)], axis=1)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    torch.testing.assert_close(read_audio(tmp_path / "a.wav", 8000), torch.linspace(0, 0.125, 101)[None])


def test_mono_is_copied_to_all_channels(write_tone: WriteTone) -> None:
    path = write_tone("a.wav")
    wav = read_audio(path, 16000, num_channels=2)
    torch.testing.assert_close(wav, read_audio(path, 16000).repeat(2, 1), rtol=0, atol=0)


def test_stereo_keeps_left_and_right(tmp_path: Path) -> None:
    samples = np.stack([np.linspace(0, 0.5, 100), np.linspace(0, -0.25, 100)], axis=1)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    wav = read_audio(tmp_path / "a.wav", 8000, num_channels=2)
    torch.testing.assert_close(wav, torch.from_numpy(samples.T).float(), rtol=0, atol=0)


def test_other_channel_counts_are_refused(write_tone: WriteTone) -> None:
    with pytest.raises(AudioFileError, match=r"^3 channels, need 1 or 2$"):
        read_audio(write_tone("a.wav", num_channels=3), 8000, num_channels=2)


def test_file_of_exactly_the_shortest_duration_is_read(write_tone: WriteTone) -> None:
    assert audio_info(write_tone("a.wav", seconds=0.25), min_seconds=0.25) == AudioInfo(2000, 8000, 1, "WAV")


def bad_samples(value: float) -> NDArray:
    samples = np.full(100, 0.1, dtype=np.float32)
    samples[50] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), r"^empty \(0 samples\)$"),
        (np.tile(bad_samples(np.nan), 10), r"^not finite"),
        (np.tile(bad_samples(np.inf), 10), r"^not finite"),
        (np.tile(bad_samples(-np.inf), 10), r"^not finite"),
        (np.zeros(1000), r"^silent \(every sample is the same\)$"),
        (np.full(1000, 0.1), r"^silent \(every sample is the same\)$"),
    ],
    ids=["empty", "nan", "inf", "-inf", "silent", "DC"],
)
def test_unusable_samples_are_refused_with_the_reason(tmp_path: Path, samples: NDArray, reason: str) -> None:
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioFileError, match=reason):
        read_audio(tmp_path / "a.wav", 8000)


def test_file_shorter_than_asked_is_refused(write_tone: WriteTone) -> None:
    with pytest.raises(AudioFileError, match=r"^too short \(0\.010 s, need 0\.1 s\)$"):
        audio_info(write_tone("a.wav", seconds=0.01), min_seconds=0.1)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".opus"])
def test_part_of_a_file_equals_the_same_range_of_the_whole(write_tone: WriteTone, suffix: str) -> None:
    path = write_tone(f"a{suffix}", 16000, seconds=3, frequency=300)
    whole = read_audio(path, 8000)
    ranges = [(0.5, 0.5), (1.25, 0.5), (1.75, 0.25)]
    for (start, seconds), part in zip(ranges, read_parts(path, 8000, 1, ranges), strict=True):
        assert part.shape == (1, seconds * 8000)
        expected = whole[:, int(start * 8000) :][:, : part.shape[1]]
        torch.testing.assert_close(part[:, 99:-99], expected[:, 99:-99], rtol=0, atol=1e-3)  # resampling needs margins


def test_part_beyond_the_end_is_shortened(write_tone: WriteTone) -> None:
    (part,) = read_parts(write_tone("a.wav", seconds=1), 8000, 1, [(0.75, 5)])
    assert part.shape == (1, 2000)


def test_part_of_a_long_file_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with soundfile.SoundFile(tmp_path / "hours.wav", "w", 8000, 1, "PCM_16") as file:
        for _ in range(20):
            file.write(np.random.default_rng(0).standard_normal(8000 * 60).astype(np.float32) / 10)
    read = []
    whole = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *a, **k: read.append(whole(*a, **k)) or read[-1])
    (part,) = read_parts(tmp_path / "hours.wav", 8000, 1, [(600, 1)])
    assert part.shape == (1, 8000)
    assert [len(samples) for samples in read] == [8000]


def test_broken_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(AudioFileError, match=r"^unreadable \(broken symbolic link\)$"):
        read_audio(tmp_path / "a.wav", 8000)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without permissions")
def test_file_without_read_permission_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "a.wav")
        soundfile.write(path, np.linspace(0, 0.5, 1000), 8000)
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(AudioFileError, match=r"^unreadable \(no read permission\)$"):
                read_audio(path, 8000)
        finally:
            os.seteuid(0)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"^unreadable \(no such file\)$"):
        read_audio(tmp_path / "a.wav", 8000)


@pytest.mark.parametrize("content", [b"", b"no sound at all " * 100], ids=["no bytes", "text"])
def test_garbage_is_refused_without_repeating_the_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=r"^unreadable \(.+\)$") as caught:
        read_audio(path, 8000)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".ogg", ".mp3", ".opus"])
def test_half_a_file_is_refused(write_tone: WriteTone, suffix: str) -> None:
    path = write_tone(f"a{suffix}", 16000, seconds=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioFileError, match=r"^(cut short|unreadable)"):
        read_audio(path, 16000)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".ogg", ".mp3", ".opus"])
def test_long_file_without_its_last_tenth_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).standard_normal(16000 * 20) / 10
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, noise, 16000, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    with pytest.raises(AudioFileError, match=r"^(cut short|unreadable)"):
        read_audio(path, 16000)


def test_truncated_wav_error_gives_the_sample_counts(write_tone: WriteTone) -> None:
    path = write_tone("a.wav", seconds=1)
    path.write_bytes(path.read_bytes()[:8044])  # 44 bytes of header, 4000 of 8000 samples
    with pytest.raises(AudioFileError, match=r"^cut short \(4000 of 8000 samples\)$"):
        read_audio(path, 8000)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000], ids=["ffmpeg", "sox"])
def test_wav_from_a_pipe_is_read_although_its_size_is_a_placeholder(write_tone: WriteTone, size: int) -> None:
    path = write_tone("a.wav")
    whole = read_audio(path, 8000)
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    torch.testing.assert_close(read_audio(path, 8000), whole, rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".w64"])
def test_gsm_is_read_in_parts_without_seeking(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, sine(8000, 8000).numpy(), 8000, subtype="GSM610")
    wav = read_audio(path, 8000)
    assert wav.shape[1] == pytest.approx(8000, abs=320)
    assert dominant_frequency(middle(wav[0]), 8000) == pytest.approx(FREQUENCY, rel=5e-3)
    parts = list(read_parts(path, 8000, 1, [(0.25, 0.25), (0.75, 0.125)]))
    torch.testing.assert_close(torch.cat(parts, dim=1), torch.cat([wav[:, 2000:4000], wav[:, 6000:7000]], dim=1))


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "G721_32", "PCM_U8", "PCM_24", "DOUBLE"])
def test_parts_equal_the_whole_in_any_encoding(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", sine(8000, 8000).numpy(), 8000, subtype=subtype)
    wav = read_audio(tmp_path / "a.wav", 8000)
    parts = list(read_parts(tmp_path / "a.wav", 8000, 1, [(0.25, 0.25), (0.75, 0.125)]))
    torch.testing.assert_close(torch.cat(parts, dim=1), torch.cat([wav[:, 2000:4000], wav[:, 6000:7000]], dim=1))


def test_unsupported_format_error_suggests_a_conversion(tmp_path: Path) -> None:
    assert not READ_SUFFIXES & {".m4a", ".mp4", ".webm", ".wma"}
    for suffix in (".m4a", ".mp4", ".webm", ".wma"):
        (tmp_path / f"a{suffix}").write_bytes(b"\x00\x00\x00\x20ftypM4A " * 50)
        with pytest.raises(
            AudioFileError, match=rf"^unreadable \({suffix} is not a supported format.* ffmpeg -i NAME{suffix} "
        ):
            read_audio(tmp_path / f"a{suffix}", 8000)
    soundfile.write(tmp_path / "b.m4a", sine(8000, 800).numpy(), 8000, format="WAV")  # only its name is wrong
    assert read_audio(tmp_path / "b.m4a", 8000).shape == (1, 800)


def test_writing_clips_beyond_full_scale(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", torch.tensor([[2.0, 0.5, -3.0]]), 8000)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert samples.tolist() == [32767, 16384, -32768]


def test_writing_makes_missing_folders(tmp_path: Path) -> None:
    write_audio(tmp_path / "b" / "c" / "a.wav", torch.full((1, 10), 0.5, requires_grad=True), 8000)
    info = soundfile.info(tmp_path / "b" / "c" / "a.wav")
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (8000, 1, 10, "PCM_16")


@pytest.mark.parametrize("shape", [(100,), (1, 1, 100)])
def test_writing_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected wav \[C, T\], got \[.*100\]"):
        write_audio(tmp_path / "a.wav", torch.zeros(shape), 8000)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_writing_nan_or_inf_is_refused_and_leaves_no_file(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"a\.wav is not finite"):
        write_audio(tmp_path / "a.wav", torch.tensor([[0.0, value]]), 8000)
    assert list(tmp_path.iterdir()) == []


def test_sample_rate_that_would_blow_up_the_sound_is_refused(write_tone: WriteTone) -> None:
    path = write_tone("a.wav")
    content = bytearray(path.read_bytes())
    for rate in (1, 999, 2**31 - 1):
        content[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(content)
        with pytest.raises(AudioFileError, match=rf"^impossible \(a sample rate of {rate} Hz\)$"):
            read_audio(path, 8000)


def test_more_samples_than_the_bytes_can_hold_are_refused_before_they_are_allocated(write_tone: WriteTone) -> None:
    path = write_tone("a.flac")
    content = bytearray(path.read_bytes())
    content[21] |= 15  # STREAMINFO stores the number of samples in 36 bits
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=r"^impossible \(68719476735 samples in \d+ bytes\)$"):
        read_audio(path, 8000)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".opus"])
def test_highest_compression_is_not_called_impossible(tmp_path: Path, suffix: str) -> None:
    with audio_writer(tmp_path / f"a{suffix}", 48000, 1) as write:
        for _ in range(300):  # libsndfile crashes if minutes of Vorbis are written at once
            write(torch.zeros(1, 48000))
    assert audio_info(tmp_path / f"a{suffix}").seconds == pytest.approx(300, abs=0.1)
