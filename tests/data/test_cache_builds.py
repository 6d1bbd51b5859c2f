"""Building a store: interruptions, damage, changing files and several processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen.data import pipeline as pipeline_module
from audiogen.data.cache import cached_store
from audiogen.data.pipeline import Pipeline
from audiogen.transforms.mel import LogMel
from tests.data.tiny_sets import MEL, open_store


def test_interrupted_build_is_not_mistaken_for_complete(
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
    assert processed == files[2:]  # finished files are kept
    assert again.is_whole()
    assert again.file.tolist() == [0, 1, 2, 3]
    assert not list((tmp_path / "cache").glob("*.unfinished"))


@pytest.mark.parametrize("change", ["nothing", "frames", "frames cut short", "journal", "a finished file", "all"])
def test_killed_build_continues_with_undamaged_files(
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
    if change == "frames":  # flips a bit in the second file
        content = bytearray(frames.read_bytes())
        content[len(content) // 2] ^= 1
        frames.write_bytes(content)
    elif change == "frames cut short":
        frames.write_bytes(frames.read_bytes()[:-9])
    elif change == "journal":
        journal.write_bytes(journal.read_bytes()[:-9])
    elif change == "a finished file":
        os.utime(files[0])
    elif change == "all":
        frames.unlink()
        journal.write_bytes(b"no journal\n" * 100)
    monkeypatch.setattr(
        pipeline_module, "process", lambda path, pipeline: processed.append(path) or process(path, pipeline)
    )
    store = open_store(files, tmp_path)
    done = {"nothing": 3, "frames": 1, "frames cut short": 2, "journal": 2, "a finished file": 0, "all": 0}[change]
    assert processed == files[done:]
    monkeypatch.undo()
    other = cached_store(files, Pipeline(LogMel(**MEL)), tmp_path / "other", num_workers=1)
    for name in ("frames.i16", "index.npz", "records.jsonl"):
        assert (store.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert not list((tmp_path / "cache").glob("*.unfinished"))


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("damage", ["frames.i16", "index.npz", "records.jsonl"])
def test_damaged_store_is_rebuilt(files: list[Path], tmp_path: Path, builds: list[Path], damage: str) -> None:
    folder = open_store(files, tmp_path).folder
    (folder / damage).write_bytes((folder / damage).read_bytes()[:-10])
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
    with pytest.raises(OSError, match=r"1 audio files changed while they were read, such as .*a\.wav"):
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


def test_only_one_of_several_processes_builds(files: list[Path], tmp_path: Path) -> None:
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


def test_several_workers_write_the_same_as_one_even_without_a_main_guard(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    files[1].write_bytes(b"no sound")
    folders = []
    for name, num_workers in (("one", "1"), ("two", "2")):
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), name, num_workers]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, env=os.environ | {"PYTHONPATH": "."}
        )
        reasons, folder = done.stdout.rsplit("] ", 1)
        assert reasons.count("unreadable") == 1
        folders.append(Path(folder.strip()))
    for name in ("frames.i16", "index.npz", "records.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
