"""The embedded data set: reproducible, split by voice, audible, built once."""

import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile
import torch

from audiogen.audio.io import read_audio
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.datasets.fsdd import DIGITS
from audiogen.data.datasets.spoken_digits import (
    ACCENTS,
    MARGIN_SECONDS,
    PEAK,
    PITCHES,
    RATES,
    VOICES,
    SpokenDigits,
    build_spoken_digits,
    gender_of,
    list_speakers,
    plan_utterances,
)

NUM_CLIPS = 120
SAMPLE_RATE = 8000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder with the clips of seed 0 in it."""
    pytest.importorskip("espeakng_loader", reason="needs the extra 'demo'")
    root = tmp_path_factory.mktemp("cache")
    SpokenDigits(num_clips=NUM_CLIPS).scan(root)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dataset_folder(cache: Path) -> Path:
    return cache / f"spoken_digits-v1-{NUM_CLIPS}-seed0-{SAMPLE_RATE}hz"


def test_default_plan_has_sixty_speakers_and_equally_many_clips_per_digit() -> None:
    plan = plan_utterances(6000, seed=0)
    assert len({utterance.path for utterance in plan}) == 6000
    assert len({utterance.speaker.name for utterance in plan}) == len(list_speakers()) == 60
    assert set(Counter(utterance.digit for utterance in plan).values()) == {600}


@pytest.mark.parametrize("num_clips", [100, 6000])
def test_splits_share_no_voice_and_each_has_all_digits(num_clips: int) -> None:
    plan = plan_utterances(num_clips, seed=0)
    voices: Counter[str] = Counter()
    for split in ("train", "val", "test"):
        part = [utterance for utterance in plan if utterance.speaker.split == split]
        assert {utterance.digit for utterance in part} == set(range(10))
        voices.update({utterance.speaker.name.split("-")[1] for utterance in part})
    assert set(voices.values()) == {1}


def test_four_fifths_of_the_speakers_are_for_training() -> None:
    assert Counter(speaker.split for speaker in list_speakers()) == {"train": 48, "val": 6, "test": 6}
    assert len(set(VOICES)) == 30


def test_plan_varies_rate_and_pitch_within_their_bounds_by_seed() -> None:
    plan, other = plan_utterances(600, seed=0), plan_utterances(600, seed=1)
    assert {utterance.rate for utterance in plan} == set(range(RATES[0], RATES[1] + 1))
    assert {utterance.pitch for utterance in plan} == set(range(PITCHES[0], PITCHES[1] + 1))
    assert [utterance.path for utterance in plan] == [utterance.path for utterance in other]
    assert plan != other


def test_larger_plan_starts_with_the_smaller_one() -> None:
    assert plan_utterances(1000, seed=3)[:300] == plan_utterances(300, seed=3)


def test_two_workers_write_the_same_bits_as_one(cache: Path, tmp_path: Path) -> None:
    build_spoken_digits(tmp_path / "two", NUM_CLIPS, seed=0, sample_rate=SAMPLE_RATE, num_workers=2)
    assert contents(tmp_path / "two") == contents(dataset_folder(cache))


def test_second_build_in_the_same_process_writes_the_same_bits(cache: Path, tmp_path: Path) -> None:
    build_spoken_digits(tmp_path / "other", NUM_CLIPS, seed=1, sample_rate=SAMPLE_RATE)
    build_spoken_digits(tmp_path / "again", NUM_CLIPS, seed=0, sample_rate=SAMPLE_RATE)
    assert contents(tmp_path / "again") == contents(dataset_folder(cache))
    differing = [
        name for name, data in contents(tmp_path / "other").items() if data != contents(tmp_path / "again")[name]
    ]
    assert len(differing) == NUM_CLIPS


def test_clips_are_audible_levelled_trimmed_and_short(cache: Path) -> None:
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    for clip in SpokenDigits(num_clips=NUM_CLIPS).scan(cache):
        info = soundfile.info(clip.path)
        assert (info.samplerate, info.subtype, info.channels) == (SAMPLE_RATE, "PCM_16", 1)
        wav = read_audio(clip.path, SAMPLE_RATE)[0]  # refuses silence, NaN and Inf
        assert 0.2 <= len(wav) / SAMPLE_RATE <= 0.75
        assert wav.abs().max() == pytest.approx(PEAK, abs=1e-3)
        assert wav.square().mean().sqrt() > 0.03
        assert torch.cat([wav[: margin - 1], wav[1 - margin :]]).abs().max() < 0.01


def test_other_sample_rate_gives_the_same_words_at_that_rate(tmp_path: Path, cache: Path) -> None:
    wide = SpokenDigits(num_clips=100, sample_rate=16000).scan(tmp_path)
    assert soundfile.info(wide[0].path).samplerate == 16000
    narrow = dataset_folder(cache) / wide[0].path.relative_to(wide[0].path.parents[1])
    assert soundfile.info(wide[0].path).duration == pytest.approx(soundfile.info(narrow).duration, abs=0.03)


def test_second_scan_reads_what_the_first_one_built(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    clips = SpokenDigits(num_clips=NUM_CLIPS).scan(cache)
    assert len(clips) == NUM_CLIPS
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert [path.name for path in cache.iterdir()] == [dataset_folder(cache).name]  # no temporary folder is left


def test_scan_without_root_uses_the_cache_of_the_environment(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("AUDIOGEN_CACHE", str(cache))
    assert SpokenDigits(num_clips=NUM_CLIPS).scan(None) == SpokenDigits(num_clips=NUM_CLIPS).scan(cache)


@pytest.mark.usefixtures("cache")
def test_two_processes_building_at_once_agree(tmp_path: Path) -> None:
    target = tmp_path / "digits"
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=build_spoken_digits, args=(target, NUM_CLIPS, 0, SAMPLE_RATE)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert len(contents(target)) == NUM_CLIPS


def test_build_keeps_the_folder_of_a_faster_process(cache: Path) -> None:
    before = contents(dataset_folder(cache))
    build_spoken_digits(dataset_folder(cache), 100, seed=5, sample_rate=SAMPLE_RATE)
    assert contents(dataset_folder(cache)) == before
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("cache")
def test_build_that_fails_halfway_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ACCENTS, "american", "en-nowhere")
    with pytest.raises(DatasetError, match=r"no voice 'en-nowhere\+m1'"):
        build_spoken_digits(tmp_path / "digits", NUM_CLIPS, seed=0, sample_rate=SAMPLE_RATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("cache")
def test_missing_voice_is_named_and_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("audiogen.data.datasets.spoken_digits.VOICES", ("nobody", *VOICES[1:]))
    with pytest.raises(DatasetError, match="lacks the voices nobody"):
        build_spoken_digits(tmp_path / "digits", NUM_CLIPS, seed=0, sample_rate=SAMPLE_RATE)


def test_labels_are_digits_or_speakers(cache: Path) -> None:
    by_digit = SpokenDigits(num_clips=NUM_CLIPS).scan(cache)
    by_speaker = SpokenDigits("speaker", num_clips=NUM_CLIPS).scan(cache)
    assert [clip.path for clip in by_digit] == [clip.path for clip in by_speaker]
    assert Counter(clip.label for clip in by_digit) == dict.fromkeys(DIGITS, NUM_CLIPS // 10)
    assert {clip.label for clip in by_speaker} == {speaker.name for speaker in list_speakers()[: NUM_CLIPS // 10]}
    assert {(clip.path.parent.name, clip.path.name[0]) for clip in by_digit} == {
        (clip.split, str(DIGITS.index(clip.label or ""))) for clip in by_digit
    }


def test_class_can_be_the_gender_of_the_voice() -> None:
    """Each voice, and so its gender, is in one split; every split has both genders."""
    speakers = list_speakers()
    found = {(speaker.split, gender_of(speaker.name)) for speaker in speakers}
    assert {pair for pair in found if pair[1]} == {(s, g) for s in ("train", "val", "test") for g in ("male", "female")}
    voices = [(speaker.name.rsplit("-", 1)[1], gender_of(speaker.name)) for speaker in speakers]
    assert len(set(voices)) == len({voice for voice, _ in voices}) == 30
    assert {voice for voice, gender in voices if gender is None} == {"zac", "shelby"}
    assert {"Annie", "f1", "belinda"} <= {voice for voice, gender in voices if gender == "female"}


def test_ambiguous_voices_have_no_gender_class(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiogen.data.datasets.spoken_digits.NEITHER", ("f1",))  # has ten of these few clips
    clips = SpokenDigits(label="gender", num_clips=NUM_CLIPS).scan(cache)
    assert len(clips) == NUM_CLIPS - 10
    assert {clip.label for clip in clips} == {"male", "female"}
    assert not any("-f1_" in clip.path.name for clip in clips)


def test_folder_that_lost_clips_is_refused(tmp_path: Path) -> None:
    (tmp_path / dataset_folder(tmp_path) / "train").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"expected 120 clips in .*, found 0: delete it to rebuild"):
        SpokenDigits(num_clips=NUM_CLIPS).scan(tmp_path)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DatasetError, match=r"need the 'demo' extra: pip install 'audiogen\[demo\]'"):
        SpokenDigits(num_clips=NUM_CLIPS).scan(tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clips": 99}, "expected num_clips >= 100, sample_rate > 0, got 99, 8000"),
        ({"sample_rate": 0}, "got 6000, 0"),
        ({"label": "accent"}, "expected label digit, speaker, gender, got 'accent'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        SpokenDigits(**arguments)
