"""The metrics of the inversion benchmark in closed form, its sounds, and its table."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiogen.transforms.mel import LogMel
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.spsi import SPSI
from benchmarks import inversion, librosa_inverses
from benchmarks.inversion import log_spectral_distance, own_distance, pesq, stoi
from benchmarks.librosa_inverses import invert_with_librosa
from benchmarks.sounds import MUSIC_RATE, music, speech
from tests.conftest import WriteTone
from tests.transforms.sounds import harmonic


def noise(level: float = 0.1, seconds: float = 1.0) -> Tensor:
    return level * torch.randn(2, 1, round(8000 * seconds), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sample_rate", [8000, 22050])
def test_log_spectral_distance_of_half_the_level_is_six_db(sample_rate: int) -> None:
    assert log_spectral_distance(noise(), noise(), sample_rate) == 0
    assert log_spectral_distance(0.5 * noise(), noise(), sample_rate) == pytest.approx(6.02, abs=0.02)


def test_log_spectral_distance_stops_at_the_floor() -> None:
    assert log_spectral_distance(1e-9 * noise(), 0 * noise(), 8000) == 0


def test_log_spectral_distance_is_the_root_mean_square_over_frequency() -> None:
    wav = noise()
    spectrum = torch.fft.rfft(wav)
    upper_half = torch.arange(spectrum.shape[-1]) > spectrum.shape[-1] / 2
    half_as_loud_above = torch.fft.irfft(spectrum * (1 - 0.5 * upper_half), wav.shape[-1])
    assert log_spectral_distance(half_as_loud_above, wav, 8000) == pytest.approx(6.02 * 0.5**0.5, abs=0.1)


@pytest.mark.parametrize("name", ["mel", "stft", "cqt"])
def test_own_distance_of_half_the_level_is_six_db(name: str) -> None:
    transform = inversion.speech_representations()[name]
    assert own_distance(0.5 * noise(), transform(noise()), transform) == pytest.approx(6.02, abs=0.05)


@pytest.mark.skipif(not find_spec("pystoi") or not find_spec("pesq"), reason="needs the extra speech")
def test_scores_of_speech_fall_with_noise() -> None:
    transform = LogMel(8000, 512, 128, 64, num_frames=188)
    voice = harmonic(transform) + harmonic(transform).flip(2)
    for score, best in ((stoi, 1.0), (pesq, 4.5)):
        clean, noisy = score(voice, voice), score(voice + noise(seconds=188 * 128 / 8000)[:1], voice)
        assert clean == pytest.approx(best, abs=0.1)
        assert noisy is not None
        assert noisy < best - 0.2


@pytest.mark.parametrize("name", ["mel", "stft", "mfcc", "cqt"])
def test_librosas_inverse_has_the_representation(name: str) -> None:
    transform = inversion.speech_representations()[name]
    wav = harmonic(transform)
    spec = transform(wav)
    returned = invert_with_librosa(transform, spec)
    assert returned.shape == wav.shape
    assert own_distance(returned, spec, transform) < 3


def test_music_is_always_the_same_and_fills_its_clips() -> None:
    segments = music(1.0)
    assert segments.shape == (4, 1, MUSIC_RATE)
    assert torch.equal(segments, music(1.0))
    torch.testing.assert_close(segments.abs().amax(dim=2), torch.full((4, 1), 0.7))
    assert segments.unflatten(2, (10, -1)).abs().amax(dim=3).min() > 0.01
    assert len({segment.sum().item() for segment in segments}) == 4


def test_speech_is_ten_digits_in_a_row_for_each_speaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tone: WriteTone
) -> None:
    for digit in range(10):
        for index, speaker in enumerate(("anna", "bert", "cora")):
            for take in (4, 0, 7):  # takes from 5 on are for training
                write_tone(f"{digit}_{speaker}_{take}.wav", seconds=0.1, frequency=1000 * (index + 1) + 50 * digit)
    monkeypatch.setenv("AUDIOGEN_FSDD", str(tmp_path))
    clips = speech(1.2, 8000)
    assert clips.shape == (3, 1, 9600)
    spoken = clips[:, 0, :8000].unflatten(1, (10, 800))
    hertz = torch.fft.rfft(spoken * torch.hann_window(800), 8000).abs().argmax(dim=2)
    expected = 1000 * torch.arange(1, 4)[:, None] + 50 * torch.arange(10)
    assert (hertz - expected).abs().max() <= 2
    assert not clips[:, 0, 8000:].any()


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal")
def test_table_has_a_row_for_each_inverse_and_ends_with_its_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inversion, "SECONDS", 0.25)
    monkeypatch.setattr(inversion, "ROUNDS", 1)
    monkeypatch.setattr(inversion, "METHODS", {"few": GriffinLim(2), "single pass": SPSI()})
    monkeypatch.setattr(librosa_inverses, "ITERATIONS", 1)
    monkeypatch.setattr(inversion, "speech", lambda seconds, sample_rate: noise(seconds=seconds))
    monkeypatch.setattr(inversion, "music", lambda seconds: noise(seconds=seconds))
    monkeypatch.setattr(inversion, "music_representations", inversion.speech_representations)  # which are smaller
    monkeypatch.setattr(inversion, "find_spec", lambda name: None)
    inversion.main()
    lines = capsys.readouterr().out.splitlines()
    assert "STOI and PESQ need pip install '.[speech]'" in lines[1]
    rows = json.loads(lines[-1])
    inverses = ["few", "single pass", "the original's phase", "librosa"]
    wanted = [
        (sound, name, inverse)
        for sound in ("speech", "music")
        for name in ("mel", "stft", "mfcc", "cqt")
        for inverse in inverses
        if (name, inverse) != ("cqt", "single pass")
    ]
    assert [(row["sound"], row["representation"], row["inverse"]) for row in rows] == wanted
    assert [line.split()[:2] for line in lines[4:-2]] == [[sound, name] for sound, name, _ in wanted]
    for row in rows:
        assert (row["stoi"], row["pesq"]) == (None, None)
        assert min(row["lsd_db"], row["own_db"], row["seconds"]) >= 0
