"""Files found in real folders: what becomes of each, and that loading continues with the rest."""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen.audio.io import read_audio
from audiogen.data import digests
from audiogen.data import pipeline as pipeline_module
from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.loading import LoadedData, load
from audiogen.data.pipeline import Pipeline
from audiogen.data.report import report
from audiogen.transforms.mel import LogMel

NOBODY = 65534


def tone(frequency: float, sample_rate: int = 8000, seconds: float = 0.3, num_channels: int = 1) -> np.ndarray:
    time = np.arange(round(sample_rate * seconds)) / sample_rate
    return np.repeat(0.5 * np.sin(2 * np.pi * frequency * time)[:, None], num_channels, axis=1)


def with_value(value: float) -> np.ndarray:
    samples = tone(300)
    samples[100] = value
    return samples


def written(path: Path, samples: np.ndarray, sample_rate: int = 8000, **options: str) -> None:
    soundfile.write(path, samples, sample_rate, **options)


def cut(path: Path, fraction: float) -> None:
    """Write a file and keep the first fraction of its bytes."""
    written(path, tone(440, seconds=2))
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])


def two_hours(path: Path) -> None:
    with soundfile.SoundFile(path, "w", 4000, 1, "PCM_U8") as file:
        minute = tone(500, 4000, 60)
        for _ in range(120):
            file.write(minute)


def written_twice(path: Path) -> None:
    written(path, tone(777))
    written(path.with_name(f"{path.stem} again.wav"), tone(777))


def named_in_latin(path: Path) -> None:
    written(path.with_name("latin.wav"), tone(333))
    path.with_name("latin.wav").rename(path)


def unreadable(path: Path) -> None:
    written(path, tone(555))
    path.chmod(0)


# File name, function that writes it, and the reason why it is left out; "" if it is used.
TABLE: list[tuple[str, Any, str]] = [
    ("no bytes.wav", lambda p: p.write_bytes(b""), "unreadable"),
    ("text.wav", lambda p: p.write_text("this is a shopping list\n" * 50), "unreadable"),
    ("half a header.wav", lambda p: (written(p, tone(300)), p.write_bytes(p.read_bytes()[:20])), "unreadable"),
    ("cut.wav", lambda p: cut(p, 0.5), "cut short"),
    ("cut.aiff", lambda p: cut(p, 0.5), "cut short"),
    ("cut.flac", lambda p: cut(p, 0.5), "unreadable"),
    ("cut.ogg", lambda p: cut(p, 0.9), "cut short"),
    ("cut.mp3", lambda p: cut(p, 0.5), "cut short"),
    ("1 Hz.wav", lambda p: written(p, tone(306), 1), "impossible"),
    ("zero length.wav", lambda p: written(p, np.zeros((0, 1))), "empty"),
    ("zeros.wav", lambda p: written(p, np.zeros(4000)), "silent"),
    ("dc.wav", lambda p: written(p, np.full(4000, 0.25)), "silent"),
    ("nan.wav", lambda p: written(p, with_value(np.nan), subtype="FLOAT"), "not finite"),
    ("inf.wav", lambda p: written(p, with_value(np.inf), subtype="FLOAT"), "not finite"),
    ("16 bit scale.wav", lambda p: written(p, 32768 * tone(300), subtype="FLOAT"), "too loud"),
    ("huge.wav", lambda p: written(p, np.full((4000, 2), 3e38), subtype="FLOAT"), "not finite"),
    ("10 ms.wav", lambda p: written(p, tone(300, seconds=0.01)), "too short"),
    ("link to nothing.wav", lambda p: p.symlink_to(p.with_name("gone.wav")), "unreadable"),
    ("no permission.wav", unreadable, "unreadable"),
    ("twice.wav", written_twice, "duplicate (the same sound as "),  # as "twice again.wav", which is listed first
    ("8 bit.wav", lambda p: written(p, tone(301), subtype="PCM_U8"), ""),
    ("24 bit.wav", lambda p: written(p, tone(302), subtype="PCM_24"), ""),
    ("32 bit float.wav", lambda p: written(p, tone(303), subtype="FLOAT"), ""),
    ("64 bit float.wav", lambda p: written(p, tone(304), subtype="DOUBLE"), ""),
    *((f"{n} channels.wav", lambda p, n=n: written(p, tone(310 + n, num_channels=n)), "") for n in range(1, 9)),
    *((f"{r} Hz.wav", lambda p, r=r: written(p, tone(320 + r / 1e4, r), r), "") for r in (4000, 11025, 44100, 192000)),
    ("2 hours.wav", two_hours, ""),
    ('it\'s "quoted" & spaced.wav', lambda p: written(p, tone(330)), ""),
    ("čeština 日本語 🎵.wav", lambda p: written(p, tone(331)), ""),
    (os.fsdecode(b"latin \xe9.wav"), lambda p: named_in_latin(p), ""),
    ("CAPITALS.WAV", lambda p: written(p, tone(332)), ""),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder readable by everyone, with one file of each kind."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        sounds = Path(name) / "sounds"
        (sounds / "kind").mkdir(parents=True)
        for file, make, _ in TABLE:
            make(sounds / "kind" / file)
        yield sounds


@pytest.fixture(scope="module", params=["start", "center", "random"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(LogMel(8000, 256, 64, 24, 32), crop=request.param)


@pytest.fixture(scope="module")
def loaded(folder: Path, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> LoadedData:
    def without_privileges(read: Callable[..., Any], path: Path, *args: Any) -> Any:
        """Read as an unprivileged user, because root may read everything."""
        if os.getuid() != 0 or path.name != "no permission.wav":
            return read(path, *args)
        os.seteuid(NOBODY)
        try:
            return read(path, *args)
        finally:
            os.seteuid(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_module, "process", partial(without_privileges, pipeline_module.process))
        patch.setattr(digests, "file_digest", partial(without_privileges, digests.file_digest))
        return load(ClassFolders(val_fraction=0).scan(folder), pipeline, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(("name", "expected"), [(name, reason) for name, _, reason in TABLE], ids=ascii)
def test_each_file_is_used_or_left_out_with_its_reason(loaded: LoadedData, name: str, expected: str) -> None:
    reasons = {clip.path.name: reason for reason, clip in loaded.rejected}
    if expected:
        assert reasons[name].startswith(expected)
    else:
        assert name not in reasons
        assert name in {clip.path.name for clip in loaded.items}


def test_missing_permission_broken_link_and_duplicate_have_different_reasons(loaded: LoadedData) -> None:
    reasons = {clip.path.name: reason for reason, clip in loaded.rejected}
    assert reasons["no permission.wav"] == "unreadable (no read permission)"
    assert reasons["link to nothing.wav"] == "unreadable (broken symbolic link)"
    assert reasons["twice.wav"].endswith("/kind/twice again.wav)")


def test_counts_in_the_report_add_up(loaded: LoadedData, pipeline: Pipeline) -> None:
    bad = sum(reason != "" for _, _, reason in TABLE)
    lines = report(loaded, pipeline).lines
    assert lines[0].startswith(f"Data: {len(TABLE) + 1 - bad} of {len(TABLE) + 1} files used")
    assert not report(loaded, pipeline).good
    counted = [line.split()[0] for line in lines[0].splitlines()[1:] if not line.startswith("    ")]
    assert sum(map(int, counted)) == bad == len(loaded.left_out().splitlines())


def test_long_file_is_never_in_memory_as_a_whole(
    folder: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *a, **k: lengths.append(read(*a, **k)) or lengths[-1])
    processed = pipeline_module.process(folder / "kind" / "2 hours.wav", pipeline)
    assert max(map(len, lengths)) == pipeline.segment_seconds * 4000
    assert len(processed.segments) == (120 if pipeline.crop == "random" else 1)
    assert processed.record.truncated == (pipeline.crop != "random")


def test_used_files_contain_their_sound(loaded: LoadedData, folder: Path) -> None:
    for name in ("8 bit.wav", "7 channels.wav", "192000 Hz.wav", "čeština 日本語 🎵.wav"):
        wav = read_audio(folder / "kind" / name, 8000)
        assert float(wav.abs().max()) == pytest.approx(0.5, abs=0.04)  # resampling overshoots
