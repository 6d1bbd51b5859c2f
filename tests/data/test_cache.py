"""The cache is built once, and any change of a file, a setting or the code is another key."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiogen import fingerprint
from audiogen.audio.preprocess import PreprocessStep
from audiogen.data import cache, digests
from audiogen.data import pipeline as pipeline_module
from audiogen.data.cache import cache_folder, cached_store, store_key
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.digests import file_digests
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import SpectrogramStore
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform

WriteTone = Callable[..., Path]
MEL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 256, "hop_length": 64, "n_mels": 24, "num_frames": 24}


@dataclass(frozen=True)
class Louder(PreprocessStep):
    gain: float = 2.0

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav * self.gain


@pytest.fixture
def files(write_tone: WriteTone) -> list[Path]:
    return [write_tone(f"{name}.wav", frequency=300 + 100 * i) for i, name in enumerate(("a", "b c", "d'é\"", "e"))]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that the path of each file that is processed is added to."""
    processed: list[Path] = []
    process = pipeline_module.process
    monkeypatch.setattr(
        pipeline_module, "process", lambda path, pipeline: processed.append(path) or process(path, pipeline)
    )
    return processed


def open_store(files: list[Path], folder: Path, **options: Any) -> SpectrogramStore:
    pipeline = Pipeline(LogMel(**{**MEL, **options.pop("mel", {})}), **options)
    return cached_store(files, pipeline, folder / "cache", num_workers=1)


def test_second_opening_reads_no_sound(files: list[Path], tmp_path: Path, builds: list[Path]) -> None:
    first = open_store(files, tmp_path)
    assert builds == files
    second = open_store(files, tmp_path)
    assert builds == files
    assert second.folder == first.folder
    segments = range(len(files))
    assert torch.equal(first.read(segments, [0.0] * 4, 24), second.read(segments, [0.0] * 4, 24))


def test_changed_file_is_never_read_stale_even_with_its_size_and_time_kept(
    files: list[Path], tmp_path: Path, builds: list[Path]
) -> None:
    before = open_store(files, tmp_path).read([1], [0.0], 24)
    stat = files[1].stat()
    samples, rate = soundfile.read(files[1])
    soundfile.write(files[1], -samples[::-1] / 2, rate)
    os.utime(files[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert files[1].stat().st_size == stat.st_size
    assert not torch.equal(open_store(files, tmp_path).read([1], [0.0], 24), before)
    assert builds == files * 2


def test_file_that_was_touched_or_moved_has_the_same_key(files: list[Path], tmp_path: Path, builds: list[Path]) -> None:
    open_store(files, tmp_path)
    os.utime(files[0])
    files[2] = files[2].rename(tmp_path / "moved.wav")
    open_store(files, tmp_path)
    assert len(builds) == len(files)


def test_missing_file_that_appears_is_seen(files: list[Path], tmp_path: Path) -> None:
    content = files[0].read_bytes()
    files[0].unlink()
    assert open_store(files, tmp_path).reasons == {0: "unreadable (no such file)"}
    files[0].write_bytes(content)
    assert open_store(files, tmp_path).reasons == {}


def transforms() -> dict[str, SpectrogramTransform]:
    mels = [
        {},
        {"hop_length": 32},
        {"n_mels": 20},
        {"f_min": 50.0},
        {"f_max": 3000.0},
        {"mel_scale": "htk", "n_mels": 20},
        {"norm": "slaney"},
        {"power": 2},
        {"scale": "log1p"},
        {"floor_db": -70.0},
        {"ceil_db": 0.0},
        {"num_frames": 25},
        {"num_channels": 2},
        {"win_length": 200},
        {"n_fft": 512},
        {"sample_rate": 8001},
    ]
    others: dict[str, SpectrogramTransform] = {
        "stft": STFT(8000, 256, 64, 24),
        "stft bins": STFT(8000, 256, 64, 24, num_bins=128),
        "mfcc": MFCC(8000, 256, 64, 12, 24, 24),
        "cqt": CQT(8000, 64, 100.0, 24, 12, 24),
        "cqt f_min": CQT(8000, 64, 101.0, 24, 12, 24),
        "cqt filter_scale": CQT(8000, 64, 100.0, 24, 12, 24, filter_scale=0.9),
    }
    return {str(options): LogMel(**{**MEL, **options}) for options in mels} | others


def test_every_setting_is_part_of_the_key() -> None:
    pipeline = Pipeline(LogMel(**MEL))
    keys = {name: store_key(["a"], Pipeline(transform)) for name, transform in transforms().items()}
    others = {
        "crop": replace(pipeline, crop="random"),
        "min_seconds": replace(pipeline, min_seconds=0.1),
        "segment_seconds": replace(pipeline, segment_seconds=10.0),
        "step": replace(pipeline, steps=(Louder(),)),
        "gain": replace(pipeline, steps=(Louder(3.0),)),
        "twice": replace(pipeline, steps=(Louder(), Louder())),
    }
    keys |= {name: store_key(["a"], other) for name, other in others.items()}
    keys["files"] = store_key(["a", "b"], pipeline)
    keys["order"] = store_key(["b", "a"], pipeline)
    assert len(set(keys.values())) == len(keys)


def test_key_is_the_same_for_the_same_settings_and_for_any_phase_method() -> None:
    keys = {store_key(["a"], Pipeline(LogMel(**MEL, phase=phase))) for phase in (None, GriffinLim(5), GriffinLim(50))}
    assert len(keys) == 1


def test_changed_code_and_versions_are_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plug_in.py").write_text("class Step:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import plug_in  # type: ignore[import-not-found]

    pipeline = Pipeline(LogMel(**MEL), (plug_in.Step(),))
    before = store_key(["a"], pipeline)
    (tmp_path / "plug_in.py").write_text("class Step:\n    gain = 2\n")
    changed = store_key(["a"], pipeline)
    assert changed != before
    monkeypatch.setattr(fingerprint, "_version", lambda name: "0")
    assert store_key(["a"], pipeline) != changed


@pytest.mark.parametrize("memory", [b"no database at all " * 100, None])
def test_damaged_or_read_only_memory_of_digests_is_done_without(
    files: list[Path], tmp_path: Path, memory: bytes
) -> None:
    expected = file_digests(files, tmp_path)
    if memory:
        (tmp_path / "digests.sqlite").write_bytes(memory)
    else:
        (tmp_path / "digests.sqlite").unlink()
        (tmp_path / "digests.sqlite").mkdir()
    assert file_digests(files, tmp_path) == expected
    assert file_digests(files, tmp_path) == expected


def test_cache_that_cannot_be_made_names_the_option(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DatasetError, match=r"Name another folder with --data\.cache"):
        open_store(files, tmp_path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act as a user without privileges: root may read and write everything."""
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("what", ["the store", "the folder", "the lock", "the unfinished store"])
def test_cache_of_another_user_is_told_before_anything_is_built(
    files: list[Path], builds: list[Path], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cache, "store_key", lambda digests, pipeline: "key"
    )  # the code may lie where only root can read
    with TemporaryDirectory() as name:  # pytest's own folder can be entered by its owner only
        place = Path(name)
        place.chmod(0o755)
        store = cached_store(files, Pipeline(LogMel(**MEL)), place / "cache", num_workers=1).folder
        (place / "cache").chmod(0o755 if what == "the folder" else 0o777)
        if what == "the store":
            store.chmod(0o700)
        elif what == "the unfinished store":
            store.rename(f"{store}.unfinished")
            Path(f"{store}.lock").unlink(missing_ok=True)
        else:
            shutil.rmtree(store)
            Path(f"{store}.lock").touch(0o600)
            Path(f"{store}.lock").chmod(0o600)
        for path in files:
            path.rename(place / path.name).chmod(0o644)
        builds.clear()
        paths = [place / path.name for path in files]
        with (
            as_nobody(),
            pytest.raises(DatasetError, match=r"cannot use the cache .*Name another folder with --data\.cache or"),
        ):
            cached_store(paths, Pipeline(LogMel(**MEL)), place / "cache", num_workers=1)
        assert builds == []


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_what_is_in_the_place_of_a_store_is_removed_or_told_before_anything_is_built(
    files: list[Path], tmp_path: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_store(files, tmp_path).folder
    shutil.rmtree(place)
    (place / "something").mkdir(parents=True)
    assert open_store(files, tmp_path).is_whole()
    shutil.rmtree(place)
    place.write_text("a file")
    assert open_store(files, tmp_path).is_whole()
    builds.clear()
    shutil.rmtree(place)
    (place / "something").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)  # as for a folder of another user
    with pytest.raises(DatasetError, match="is damaged and cannot be removed"):
        open_store(files, tmp_path)
    assert builds == []


def test_without_a_home_folder_the_message_names_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIOGEN_CACHE")
    monkeypatch.setenv("HOME", "")
    with pytest.raises(DatasetError, match=r"set HOME or AUDIOGEN_CACHE, or use --data\.cache"):
        cache_folder()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "expanduser", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    with pytest.raises(DatasetError, match=r"set HOME or AUDIOGEN_CACHE, or use --data\.cache"):
        cache_folder()


def test_interrupted_build_leaves_nothing_that_is_taken_for_whole(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = pipeline_module.process

    def stop_at_the_third(path: Path, pipeline: Pipeline) -> Any:
        if path == files[2]:
            raise KeyboardInterrupt
        return process(path, pipeline)

    monkeypatch.setattr(pipeline_module, "process", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        open_store(files, tmp_path)
    monkeypatch.undo()
    processed: list[Path] = []
    monkeypatch.setattr(
        pipeline_module, "process", lambda path, pipeline: processed.append(path) or process(path, pipeline)
    )
    again = open_store(files, tmp_path)
    assert processed == files[2:]  # what was built is kept
    assert again.is_whole()
    assert again.file.tolist() == [0, 1, 2, 3]
    assert not list((tmp_path / "cache").glob("*.unfinished"))


@pytest.mark.parametrize("change", ["nothing", "frames", "frames cut short", "journal", "a file that is done", "all"])
def test_build_that_was_killed_goes_on_with_what_is_whole(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def killed_at_the_last(path: Path, pipeline: Pipeline) -> Any:
        return os.kill(os.getpid(), signal.SIGKILL) if path == files[3] else process(path, pipeline)

    process, processed = pipeline_module.process, []
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "process", killed_at_the_last)
        child = multiprocessing.get_context("fork").Process(target=open_store, args=(files, tmp_path))
        child.start()
        child.join(60)
    assert child.exitcode == -signal.SIGKILL
    (unfinished,) = (tmp_path / "cache").glob("*.unfinished")
    frames, journal = unfinished / "frames.i16", unfinished / "journal.jsonl"
    if change == "frames":  # of the second file
        content = bytearray(frames.read_bytes())
        content[len(content) // 2] ^= 1
        frames.write_bytes(content)
    elif change == "frames cut short":
        frames.write_bytes(frames.read_bytes()[:-9])
    elif change == "journal":
        journal.write_bytes(journal.read_bytes()[:-9])
    elif change == "a file that is done":
        os.utime(files[0])
    elif change == "all":
        frames.unlink()
        journal.write_bytes(b"no journal\n" * 100)
    monkeypatch.setattr(
        pipeline_module, "process", lambda path, pipeline: processed.append(path) or process(path, pipeline)
    )
    store = open_store(files, tmp_path)
    done = {"nothing": 3, "frames": 1, "frames cut short": 2, "journal": 2, "a file that is done": 0, "all": 0}[change]
    assert processed == files[done:]
    monkeypatch.undo()
    other = cached_store(files, Pipeline(LogMel(**MEL)), tmp_path / "other", num_workers=1)
    for name in ("frames.i16", "index.npz", "records.jsonl"):
        assert (store.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert not list((tmp_path / "cache").glob("*.unfinished"))


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("damage", ["frames.i16", "index.npz", "records.jsonl"])
def test_damaged_store_is_built_again(files: list[Path], tmp_path: Path, builds: list[Path], damage: str) -> None:
    place = open_store(files, tmp_path).folder
    (place / damage).write_bytes((place / damage).read_bytes()[:-10])
    assert len(open_store(files, tmp_path).file) == 4
    assert builds == files * 2


def test_file_that_changes_during_the_build_is_noticed(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = pipeline_module.process

    def rewrite_first(path: Path, pipeline: Pipeline) -> Any:
        soundfile.write(files[0], np.random.default_rng(0).standard_normal(3000) / 9, 8000)
        return process(path, pipeline)

    monkeypatch.setattr(pipeline_module, "process", rewrite_first)
    with pytest.raises(OSError, match=r"1 sound files changed while they were read, such as .*a\.wav"):
        open_store(files, tmp_path)
    assert not list((tmp_path / "cache").glob("*.unfinished"))


PROGRAM = """
import sys
from pathlib import Path
from audiogen.data import pipeline as pipeline_module
from audiogen.data.pipeline import Pipeline
from audiogen.data.cache import cached_store
from audiogen.transforms.mel import LogMel
process = pipeline_module.process
pipeline_module.process = lambda path, pipeline: print(path.name) or process(path, pipeline)
folder = Path(sys.argv[1])
store = cached_store(sorted(folder.glob("*.wav")), Pipeline(LogMel(8000, 256, 64, 24, 24)), folder / "cache", 1)
assert store.read(range(4), [0.0] * 4, 24).std() > 0.1
"""


def test_of_several_processes_that_start_at_once_one_builds(files: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(len(lines) for lines in printed) == [0, 0, 4]


SCRIPT = """
import sys
from pathlib import Path
from audiogen.data import pipeline as pipeline_module
from audiogen.data.pipeline import Pipeline
from audiogen.data.cache import cached_store
from audiogen.transforms.mel import LogMel
pipeline_module.PARALLEL_FROM = pipeline_module.FILES_PER_TASK = 1
folder = Path(sys.argv[1])
paths = sorted(folder.glob("*.wav"))
store = cached_store(paths, Pipeline(LogMel(8000, 256, 64, 24, 24)), folder / sys.argv[2], int(sys.argv[3]))
print(list(store.reasons.values()), store.folder)
"""


def test_several_workers_write_what_one_writes_also_from_a_script_without_a_main_guard(
    files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    files[1].write_bytes(b"no sound")
    places = []
    for name, num_workers in (("one", "1"), ("two", "2")):
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), name, num_workers]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, env=os.environ | {"PYTHONPATH": "."}
        )
        reasons, place = done.stdout.rsplit("] ", 1)
        assert reasons.count("unreadable") == 1
        places.append(Path(place.strip()))
    for name in ("frames.i16", "index.npz", "records.jsonl"):
        assert (places[0] / name).read_bytes() == (places[1] / name).read_bytes()


def test_digests_of_unchanged_files_are_not_computed_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = file_digests(files, tmp_path)
    assert len(set(first)) == 4
    monkeypatch.setattr(digests, "file_digest", lambda path: "computed")
    assert file_digests(files, tmp_path) == first
    files[3].write_bytes(b"other")
    assert file_digests(files, tmp_path) == [*first[:3], "computed"]
