"""Silent ends are trimmed as in librosa; empty clips are dropped as in Jiralerspong & Gidel (2022)."""

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.io import AudioFileError
from audiogen.audio.silence import DropEmpty, TrimSilence

SAMPLE_RATE = 16000


def noise(num_samples: int, level_db: float = -20.0, num_channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 10 ** (level_db / 20) * torch.randn(num_channels, num_samples, generator=generator)


def sound_with_quiet_ends(quiet_db: float) -> Tensor:
    """Return 1 s of sound at -20 dB, with a pause of 0.5 s in its middle, between ends of 1 s at `quiet_db`."""
    end, pause = noise(16000, quiet_db), noise(8000, quiet_db)
    return torch.cat([end, noise(8000), pause, noise(8000), end], dim=1)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("threshold_db", [20.0, 40.0, 60.0])
def test_trimming_matches_librosa(threshold_db: float, num_channels: int) -> None:
    wav = torch.cat([sound_with_quiet_ends(-70)] * num_channels) * torch.tensor([[1.0], [0.1]])[:num_channels]
    expected, _ = librosa.effects.trim(wav.numpy(), top_db=threshold_db)
    torch.testing.assert_close(TrimSilence(threshold_db)(wav, SAMPLE_RATE), torch.from_numpy(expected), rtol=0, atol=0)


def test_ends_are_cut_and_pauses_stay() -> None:
    trimmed = TrimSilence()(sound_with_quiet_ends(-70), SAMPLE_RATE)
    assert 24000 <= trimmed.shape[1] <= 24000 + 2 * 2048


@pytest.mark.parametrize(("threshold_db", "cut"), [(39.0, True), (44.0, False)])
def test_silence_is_relative_to_the_loudest_frame(threshold_db: float, cut: bool) -> None:
    wav = torch.full((1, 32000), 0.5)
    wav[:, :16000] /= 100  # 40 dB lower; 43 dB in the first frame, half of which is before the clip
    assert (TrimSilence(threshold_db)(wav, SAMPLE_RATE).shape[1] < 32000) is cut


def test_end_is_kept_if_one_channel_sounds() -> None:
    left, right = torch.zeros(2, 32000)
    left[:16000] = 0.5
    right[8000:24000] = 0.5
    trimmed = TrimSilence()(torch.stack([left, right]), SAMPLE_RATE)
    assert 24000 <= trimmed.shape[1] <= 24000 + 2048


def test_quiet_channel_is_silent_beside_a_loud_one() -> None:
    left, right = torch.zeros(2, 32000)
    left[:16000] = 0.5
    right[16000:] = 0.5 / 200  # 46 dB lower
    assert TrimSilence()(torch.stack([left, right]), SAMPLE_RATE).shape[1] <= 16000 + 2048


@pytest.mark.parametrize("num_samples", [1, 160, 2047, 4096])
@pytest.mark.parametrize("position", [0, -1])
def test_a_click_is_never_trimmed(num_samples: int, position: int) -> None:
    wav = torch.zeros(1, num_samples)
    wav[0, position] = 1.0
    assert TrimSilence()(wav, SAMPLE_RATE)[0].max() == 1.0


def test_digital_silence_and_clips_under_minus_60_db_are_not_trimmed() -> None:
    silent = torch.zeros(1, 32000)
    assert TrimSilence()(silent, SAMPLE_RATE).shape == silent.shape
    quiet = silent.clone()
    quiet[:, 16000:] = 0.9e-3
    assert TrimSilence()(quiet, SAMPLE_RATE).shape == quiet.shape
    assert TrimSilence()(2 * quiet, SAMPLE_RATE).shape[1] < quiet.shape[1]


@pytest.mark.parametrize("threshold_db", [0.0, -40.0, float("nan")])
def test_threshold_out_of_range_is_refused(threshold_db: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected threshold_db > 0, got {threshold_db}$"):
        TrimSilence(threshold_db)


def log_mel(wav: Tensor, sample_rate: int) -> NDArray:
    """Return log(mel + 1e-6) / 2 of wav [1, T], computed with numpy, float64 [F, L]."""
    padded = np.pad(wav[0].numpy().astype(np.float64), 256)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::256]
    window = np.sin(np.pi * np.arange(512) / 512) ** 2
    power = np.abs(np.fft.rfft(frames * window)) ** 2  # [L, K]
    return np.log(librosa.filters.mel(sr=sample_rate, n_fft=512, n_mels=128) @ power.T + 1e-6) / 2


def fraction_below(wav: Tensor, threshold: float = -4.0, sample_rate: int = SAMPLE_RATE) -> float:
    return float(np.mean(log_mel(wav, sample_rate) < threshold))


def is_dropped(step: DropEmpty, wav: Tensor, sample_rate: int = SAMPLE_RATE) -> bool:
    try:
        assert step(wav, sample_rate) is wav
    except AudioFileError:
        return True
    return False


def test_clips_are_dropped_from_98_percent_on() -> None:
    fractions = []
    for tenths in range(-600, -400):
        wav = torch.zeros(1, 32000)
        wav[:, 10000:12000] = noise(2000, tenths / 10)
        fractions.append(fraction_below(wav))
        assert is_dropped(DropEmpty(), wav) is (fractions[-1] >= 0.98), fractions[-1]
    assert min(abs(fraction - 0.98) for fraction in fractions) < 1e-3
    assert max(fractions) == 1
    assert min(fractions) < 0.97


def test_clip_at_exactly_the_fraction_is_dropped() -> None:
    wav = torch.zeros(1, 99 * 256)  # 100 frames
    wav[:, 5000:5001] = 1.0
    fraction = fraction_below(wav)
    assert fraction == 0.98  # a click lies in two frames and exceeds the threshold in every band
    assert is_dropped(DropEmpty(empty_fraction=fraction), wav)
    assert not is_dropped(DropEmpty(empty_fraction=fraction + 1e-6), wav)


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("threshold", [-5.0, -4.0, -3.0])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_rule_matches_a_numpy_spectrogram(sample_rate: int, threshold: float) -> None:
    wav = noise(32000, -47)
    fraction = fraction_below(wav, threshold, sample_rate)
    assert is_dropped(DropEmpty(threshold=threshold, empty_fraction=max(fraction - 1e-4, 1e-9)), wav, sample_rate)
    assert (
        not is_dropped(DropEmpty(threshold=threshold, empty_fraction=min(fraction + 1e-4, 1.0)), wav, sample_rate)
        or fraction == 1
    )


def test_rule_depends_on_the_absolute_level() -> None:
    assert is_dropped(DropEmpty(), noise(32000, -49))
    assert not is_dropped(DropEmpty(), noise(32000, -46))


def test_values_of_all_channels_count() -> None:
    silent_left = torch.cat([torch.zeros(1, 32000), noise(32000)])
    assert not is_dropped(DropEmpty(empty_fraction=0.51), silent_left)
    assert is_dropped(DropEmpty(empty_fraction=0.5), silent_left)


@pytest.mark.parametrize(("num_samples", "dropped"), [(1, True), (800, True), (801, False)])
def test_clips_of_the_shortest_length_are_still_dropped(num_samples: int, dropped: bool) -> None:
    assert is_dropped(DropEmpty(), noise(num_samples)) is dropped


def test_clip_of_one_sample_can_pass() -> None:
    assert not is_dropped(DropEmpty(min_seconds=0), torch.ones(1, 1))


def test_reasons_give_the_measured_value() -> None:
    with pytest.raises(AudioFileError, match=r"^too short \(0\.050 s, need more than 0\.05 s\)$"):
        DropEmpty()(noise(800), SAMPLE_RATE)
    wav = torch.zeros(1, 99 * 256)
    wav[:, 5000] = 1.0
    with pytest.raises(AudioFileError, match=r"^nearly empty \(98\.0% of its log-mel is below -4\)$"):
        DropEmpty()(wav, SAMPLE_RATE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_seconds": -0.1}, r"expected min_seconds >= 0, got -0\.1"),
        ({"min_seconds": float("nan")}, r"expected min_seconds >= 0, got nan"),
        ({"threshold": -7.0}, r"expected threshold > -6\.91, got -7\.0"),
        ({"empty_fraction": 0.0}, r"expected empty_fraction in \(0, 1\], got 0\.0"),
        ({"empty_fraction": 98.0}, r"expected empty_fraction in \(0, 1\], got 98\.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        DropEmpty(**arguments)


def test_bands_too_narrow_for_a_bin_do_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    DropEmpty()(noise(96000), 96000)
    assert [str(warning.message) for warning in recwarn] == []
