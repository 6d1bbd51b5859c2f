"""Preprocessing applies its steps in order and reports their effects."""

import json
import pickle
from dataclasses import asdict

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from audiogen.audio.denoise import Denoise
from audiogen.audio.io import AudioFileError
from audiogen.audio.loudness import NormalizeLoudness
from audiogen.audio.preprocess import Change, PreprocessStep, StepReport, preprocess, step_reports
from audiogen.audio.silence import DropEmpty, TrimSilence

SAMPLE_RATE = 16000
PAPER = [Denoise(), TrimSilence(), DropEmpty()]
YAML = """
steps:
- class_path: audiogen.audio.denoise.Denoise
  init_args: {stationary: true, reduction: 0.9, padding: 0}
- class_path: audiogen.audio.silence.TrimSilence
  init_args: {threshold_db: 30}
- class_path: audiogen.audio.silence.DropEmpty
  init_args: {min_seconds: 0.1, threshold: -5.0, empty_fraction: 0.9}
- class_path: audiogen.audio.loudness.NormalizeLoudness
  init_args: {target_lufs: -20, max_peak: 0.5}
"""


class Louder(PreprocessStep):
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav * 2


class FirstHalf(PreprocessStep):
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav[:, : wav.shape[1] // 2]


class Untouched(PreprocessStep):
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav.clone()


class NeedThousand(PreprocessStep):
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        if wav.shape[1] < 1000:
            raise AudioFileError(f"less than 1000 ({wav.shape[1]} samples)")
        return wav


class Mute(PreprocessStep):
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav * 0


class CutAll(PreprocessStep):
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav[:, :0]


def test_steps_run_in_order_and_their_effects_are_measured() -> None:
    wav = torch.ones(2, 8000)
    wav[:, 4000:] = 0.5
    result, changes = preprocess(wav, SAMPLE_RATE, [Louder(), FirstHalf(), Untouched()])
    torch.testing.assert_close(result, torch.full((2, 4000), 2.0), rtol=0, atol=0)
    louder, half, untouched = changes
    assert louder == Change("Louder", True, 0.5, 0.5, pytest.approx(6.0206, abs=1e-4))
    # The mean power was (4 + 1) / 2, and is 4.
    assert half == Change("FirstHalf", True, 0.5, 0.25, pytest.approx(2.0412, abs=1e-4))
    assert untouched == Change("Untouched", False, 0.25, 0.25, 0.0)


def test_without_steps_a_clip_stays_as_it_is() -> None:
    wav = torch.randn(1, 100)
    result, changes = preprocess(wav, SAMPLE_RATE, [])
    assert result is wav
    assert changes == []


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (NeedThousand(), "NeedThousand: less than 1000 (100 samples)"),
        (Mute(), "Mute: nothing left (every sample is 0)"),
        (CutAll(), "CutAll: nothing left (every sample is 0)"),
    ],
)
def test_rejection_names_the_step(step: PreprocessStep, message: str) -> None:
    with pytest.raises(AudioFileError) as caught:
        preprocess(torch.ones(1, 100), SAMPLE_RATE, [Louder(), step])
    assert str(caught.value) == message


def test_steps_of_one_class_are_numbered() -> None:
    _, changes = preprocess(torch.ones(1, 100), SAMPLE_RATE, [Louder(), Untouched(), Louder()])
    assert [change.step for change in changes] == ["Louder 1", "Untouched", "Louder 2"]
    with pytest.raises(AudioFileError, match=r"^NeedThousand 2: less than 1000 \(500 samples\)$"):
        preprocess(torch.ones(1, 1000), SAMPLE_RATE, [NeedThousand(), FirstHalf(), NeedThousand()])


def test_changes_survive_json() -> None:
    _, changes = preprocess(torch.ones(1, 100), SAMPLE_RATE, [Louder(), FirstHalf()])
    stored = json.dumps([asdict(change) for change in changes], allow_nan=False)
    assert [Change(**change) for change in json.loads(stored)] == changes


def test_report_counts_and_averages_the_changed_clips() -> None:
    clips = [
        [Change("FirstHalf", True, 1.0, 0.5, 1.0), Change("Louder", True, 0.5, 0.5, 6.0)],
        [Change("FirstHalf", True, 1.0, 0.75, -2.0), Change("Louder", True, 0.75, 0.75, 6.0)],
        [Change("FirstHalf", False, 1.0, 1.0, 0.0), Change("Louder", True, 1.0, 1.0, 6.0)],
    ]
    rejections = [
        "unreadable (no such file)",
        "Louder: too loud (9 dB)",
        "FirstHalf: a",
        "FirstHalf: b",
        "FirstHalfway: c",
    ]
    half, louder = step_reports([FirstHalf(), Louder()], clips, rejections)
    assert half == StepReport("FirstHalf", num_clips=3, num_changed=2, num_dropped=2, seconds=-0.375, level_db=-0.5)
    assert str(half) == "FirstHalf: 2 of 3 clips changed, -0.38 s on average, level -0.5 dB; 2 clips dropped"
    assert str(louder) == "Louder: 3 of 3 clips changed, +0.00 s on average, level +6.0 dB; 1 clip dropped"


def test_report_of_steps_that_changed_nothing_or_dropped_all() -> None:
    reports = step_reports([Untouched(), NeedThousand()], [], ["NeedThousand: less than 1000 (100 samples)"])
    assert [str(report) for report in reports] == [
        "Untouched: 0 of 0 clips changed",
        "NeedThousand: 0 of 0 clips changed; 1 clip dropped",
    ]


def test_steps_come_from_yaml() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--steps", type=list[PreprocessStep])
    steps = parser.instantiate(parser.parse_string(YAML)).steps
    assert steps == [
        Denoise(stationary=True, reduction=0.9, padding=0),
        TrimSilence(threshold_db=30),
        DropEmpty(min_seconds=0.1, threshold=-5.0, empty_fraction=0.9),
        NormalizeLoudness(target_lufs=-20, max_peak=0.5),
    ]


@pytest.mark.parametrize("step", [*PAPER, Denoise(stationary=True), NormalizeLoudness()], ids=repr)
def test_pickled_step_does_the_same_and_leaves_its_input_alone(step: PreprocessStep) -> None:
    wav = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    before = wav.clone()
    torch.testing.assert_close(
        pickle.loads(pickle.dumps(step))(wav, SAMPLE_RATE), step(wav, SAMPLE_RATE), rtol=0, atol=0
    )
    torch.testing.assert_close(wav, before, rtol=0, atol=0)


def noise(seconds: float, level_db: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 10 ** (level_db / 20) * torch.randn(1, round(seconds * SAMPLE_RATE), generator=generator)


def test_papers_steps_keep_little_but_the_sound() -> None:
    wav = noise(3.0, -60)
    wav[:, 16000:24000] += noise(0.5, -15)
    result, changes = preprocess(wav, SAMPLE_RATE, PAPER)
    # Frames of 2048 samples may extend past the sound at both ends.
    assert 8000 <= result.shape[1] <= 8000 + 2 * 2048
    assert [change.changed for change in changes] == [True, True, False]
    trim = changes[1]
    assert trim.seconds_before == 3.0
    assert trim.seconds_after == result.shape[1] / SAMPLE_RATE
    assert trim.level_db > 5  # the same energy in a quarter of the time


def test_papers_steps_drop_a_noise_floor() -> None:
    with pytest.raises(AudioFileError, match=r"^DropEmpty: nearly empty \(100\.0% of its log-mel is below -4\)$"):
        preprocess(noise(3.0, -45), SAMPLE_RATE, PAPER)
    DropEmpty()(noise(3.0, -45), SAMPLE_RATE)  # without Denoise it is loud enough
