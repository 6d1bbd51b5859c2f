"""The report of `prepare`, and what it stores."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from audiogen.__main__ import main
from audiogen.data import pipeline as pipeline_module
from tests.tiny_run import write_classes

CONFIG = {
    "seed_everything": 0,
    "data": {
        "dataset": {"class_path": "audiogen.data.datasets.folder.ClassFolders", "init_args": {"val_fraction": 0.34}},
        "transform": {
            "class_path": "audiogen.transforms.mel.LogMel",
            "init_args": {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 32, "num_frames": 32},
        },
    },
    "model": {"class_path": "not.looked.At"},
    "trainer": {"max_epochs": 3},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a config and sounds of two classes."""
    write_classes(tmp_path / "data", {"low": 300, "high": 2000}, num=3)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, *args: str) -> None:
    data = ["--config", str(folder / "config.yaml"), "--data.root", str(folder / "data")]
    cache = ["--data.cache", str(folder / "cache")]
    monkeypatch.setattr(sys, "argv", ["audiogen", command, *data, *cache, *args])
    main()


def test_report_counts_everything(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    time = np.arange(44100) / 44100
    soundfile.write(folder / "data" / "low" / "loud.flac", np.sin(2 * np.pi * 400 * time)[:, None].repeat(2, 1), 44100)
    (folder / "data" / "low" / "broken.wav").write_text("no sound")
    run(folder, monkeypatch, "prepare", "--data.transform.ceil_db", "-10")
    text = capsys.readouterr().out
    (store,) = (path for path in (folder / "cache" / "spectrograms").iterdir() if path.is_dir())
    size = sum(path.stat().st_size for path in store.iterdir()) / 1000
    expected = f"""\
Data: 7 of 8 files used (5 train, 2 val), 2 classes
  1 left out: unreadable
    {folder}/data/low/broken.wav: unreadable (Format not recognised)
Sound: 0.001 hours in files of 0.38 to 1.00 s, median 0.39 s; 0.001 hours kept
Files: 6 of 8000 Hz, 1 of 44100 Hz; 6 of mono, 1 of stereo
Level: -11.0 to -3.0 dB of full scale (RMS), median -11.0 dB
Clips: 1 x 32 x 32 (0.51 s): 85.7% of the files padded, 14.3% truncated
Values: -1.000 to 1.000
  100.0% of the files reach the top of the scale: a higher ceil_db would keep their peaks
  class   train     val
  high        2       1
  low         3       1
Stored in {store} ({size:.0f} kB)
"""
    assert text == expected


def test_what_was_prepared_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    process = pipeline_module.process
    monkeypatch.setattr(pipeline_module, "process", lambda path, config: read.append(path) or process(path, config))
    run(folder, monkeypatch, "prepare")
    run(folder, monkeypatch, "inspect", "--out", str(folder / "page"))
    assert sorted(read) == sorted((folder / "data").rglob("*.wav"))


def test_steps_tell_what_they_did(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    time = np.arange(8000) / 8000
    padded = np.concatenate([np.zeros(4000), 0.5 * np.sin(2 * np.pi * 400 * time), np.zeros(4000)])
    soundfile.write(folder / "data" / "low" / "padded.wav", padded, 8000)
    steps = ["audiogen.audio.silence.TrimSilence", "audiogen.audio.loudness.NormalizeLoudness"]
    run(folder, monkeypatch, "prepare", "--data.preprocess", str([{"class_path": step} for step in steps]))
    text = capsys.readouterr().out
    assert "\n  TrimSilence: 1 of 7 clips changed, -0.72 s on average, level +" in text
    assert "\n  NormalizeLoudness: 7 of 7 clips changed, " in text


def test_check_of_good_data_stores_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, monkeypatch, "prepare", "--check")
    text = capsys.readouterr().out
    assert text.startswith("Data: 6 of 6 files used")
    assert "Stored" not in text
    assert not list((folder / "cache").rglob("*.i16"))


def test_check_fails_where_a_file_cannot_be_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data" / "low" / "broken.wav").write_text("no sound")
    with pytest.raises(SystemExit) as stop:
        run(folder, monkeypatch, "prepare", "--check")
    assert stop.value.code == 1
    assert "1 left out: unreadable" in capsys.readouterr().out


def test_check_and_shards_exclude_each_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(folder, monkeypatch, "prepare", "--check", "--shards", str(folder / "shards"))
    assert stop.value.code == 1
    assert "leave out one of --check and --shards" in capsys.readouterr().err
    assert not (folder / "shards").exists()


def test_parts_tell_what_they_did_and_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data" / "low" / "broken.wav").write_text("no sound")
    run(folder, monkeypatch, "prepare", "--part", "2/3")
    run(folder, monkeypatch, "prepare", "--part", "2/3")
    run(folder, monkeypatch, "prepare", "--part", "0/3")
    run(folder, monkeypatch, "prepare", "--part", "1/3")
    run(folder, monkeypatch, "prepare", "--part", "1/3")
    text = capsys.readouterr().out
    (store,) = (path for path in (folder / "cache" / "spectrograms").iterdir() if path.is_dir())
    expected = f"""\
Part 2/3: 2 of 7 files computed, 0 left out
Waiting for parts 0, 1
Part 2/3: 2 of 7 files were there, 0 left out
Waiting for parts 0, 1
Part 0/3: 3 of 7 files computed, 1 left out
  {folder}/data/low/broken.wav: unreadable (Format not recognised)
Waiting for parts 1
Part 1/3: 2 of 7 files computed, 0 left out
Whole: 7 files in {store}
Part 1/3: 2 of 7 files were there, 0 left out
Whole: 7 files in {store}
"""
    assert text == expected


def test_parts_give_what_a_single_run_gives_also_where_a_sound_is_there_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data" / "low" / "again.wav").write_bytes((folder / "data" / "low" / "0.wav").read_bytes())
    run(folder, monkeypatch, "prepare", "--data.cache", str(folder / "single"))
    single = capsys.readouterr().out.replace(str(folder / "single"), str(folder / "cache"))
    run(folder, monkeypatch, "prepare", "--part", "0/2")
    run(folder, monkeypatch, "prepare", "--part", "1/2")
    capsys.readouterr()
    monkeypatch.setattr(pipeline_module, "process", None)
    run(folder, monkeypatch, "prepare")
    assert capsys.readouterr().out == single
    assert "1 left out: duplicate" in single


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["5/3"], "expected a part K/N with K from 0 to N - 1, such as 0/16, got 5/3"),
        (["0/0"], "got 0/0"),
        (["x"], "got x"),
        (["0/2", "--check"], "run --check and --shards without it"),
        (["0/2", "--shards", "shards"], "run --check and --shards without it"),
    ],
)
def test_wrong_part_is_told_before_anything_is_read(
    options: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(folder, monkeypatch, "prepare", "--part", *options)
    assert stop.value.code == 1
    assert message in capsys.readouterr().err
    assert not (folder / "cache").exists()


def test_metrics_are_of_the_files_that_are_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(folder / "data", {"alone": 500}, num=1)
    (folder / "data" / "low" / "again.wav").write_bytes((folder / "data" / "low" / "0.wav").read_bytes())
    run(folder, monkeypatch, "prepare")
    text = capsys.readouterr().out
    assert text.startswith("Data: 6 of 8 files used")
    assert "\nFiles: 6 of 8000 Hz; 6 of mono\n" in text


def test_parts_of_long_files_that_are_dropped_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = 0.5 * np.sin(np.arange(8000 * 5))
    loud[8000:24000] = 0
    soundfile.write(folder / "data" / "low" / "gaps.wav", loud, 8000)
    run(folder, monkeypatch, "prepare", "--data.crop", "random", "--data.segment_seconds", "1")
    text = capsys.readouterr().out
    assert "  2 segments of long files left out, for example: silent (every sample is the same)" in text


def test_typo_in_the_data_is_told_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(folder, monkeypatch, "prepare", "--data.rot", "x")
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "data.rot" in message
    assert "Traceback" not in message


def test_single_recording_and_folders_of_splits_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).standard_normal(8 * 8000) / 9
    soundfile.write(folder / "recording.wav", noise, 8000)
    run(folder, monkeypatch, "prepare", "--data.root", str(folder / "recording.wav"))
    text = capsys.readouterr().out
    assert text.startswith("Data: 1 of 1 files used (10 train, 5 val), no classes\n  Single files are cut into clips;")
    run(folder, monkeypatch, "prepare", "--data.root", str(folder / "recording.wav"), "--part", "0/1")
    assert "were there, 0 left out\nWhole: 1 files" in capsys.readouterr().out  # stored as the report did
    monkeypatch.setattr(sys, "argv", ["audiogen"])
    for name in ("train", "test"):
        (folder / "data" / "low").rename(folder / name) if name == "train" else write_classes(folder, {name: 500}, 2)
        (folder / name).rename(folder / "data" / name)
    (folder / "data" / "high").rename(folder / "high")
    run(folder, monkeypatch, "prepare")
    text = capsys.readouterr().out
    assert text.startswith(
        "Data: 5 of 5 files used (2 train, 1 val, 2 test), no classes\n  Sub-folders named after splits"
    )
