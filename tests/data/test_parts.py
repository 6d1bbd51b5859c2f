"""Parts built by several machines at the same time, once merged, give the same bytes as a single build."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen.audio.silence import TrimSilence
from audiogen.data import cache
from audiogen.data import pipeline as pipeline_module
from audiogen.data.cache import BuiltPart, cached_part, cached_store
from audiogen.data.parts import Part, parse_part
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import SpectrogramStore
from audiogen.transforms.mel import LogMel

FILES = ("frames.i16", "index.npz", "records.jsonl")
FORK = multiprocessing.get_context("fork")  # starts at once and keeps what a test has patched
PIPELINE = Pipeline(LogMel(8000, 256, 64, 24, 24), (TrimSilence(),), crop="random", segment_seconds=0.5)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Write seven sounds: with one and many segments, short, with silent ends, and two unusable ones."""
    random = np.random.default_rng(0)
    for index, seconds in enumerate((0.3, 2.2, 0.1, 1.3, 0.4, 0.5, 0.6)):
        wave = 0.1 * random.standard_normal(round(8000 * seconds))
        wave[: 300 * index] = 0
        soundfile.write(tmp_path / f"{index}.wav", wave, 8000)
    (tmp_path / "2.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "5.wav", np.zeros(4000), 8000)
    return sorted(tmp_path.glob("*.wav"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the name of each processed file."""
    names: list[str] = []
    process = pipeline_module.process
    monkeypatch.setattr(
        pipeline_module, "process", lambda path, pipeline: names.append(path.name) or process(path, pipeline)
    )
    return names


def build_part(index: int, total: int, files: list[Path], folder: Path) -> BuiltPart:
    return cached_part(Part(index, total), files, PIPELINE, folder / "cache", num_workers=1)


def build_all(files: list[Path], folder: Path) -> SpectrogramStore:
    return cached_store(files, PIPELINE, folder / "cache", num_workers=1)


def contents(store: SpectrogramStore) -> dict[str, bytes]:
    return {name: (store.folder / name).read_bytes() for name in FILES}


@pytest.fixture
def expected(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the bytes of a store built at once."""
    return contents(build_all(files, tmp_path_factory.mktemp("single")))


def leftovers(folder: Path) -> list[str]:
    """Return everything in the cache except the digests, complete stores and their locks."""
    stores = {store.name for store in (folder / "cache").iterdir() if (store / "index.npz").exists()}
    known = {"digests.sqlite", *stores, *(f"{name}.lock" for name in stores)}
    return sorted(path.name for path in (folder / "cache").iterdir() if path.name not in known)


def in_processes(task: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    """Call a function in several processes at once; return their exit statuses."""
    processes = [FORK.Process(target=task, args=args) for args in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_parts_in_any_order_give_the_bytes_of_a_single_build(
    order: tuple[int, ...], files: list[Path], tmp_path: Path, expected: dict[str, bytes], read: list[str]
) -> None:
    first, second, third = (build_part(index, 3, files, tmp_path) for index in order)
    assert (first.whole, second.whole) == (None, None)
    assert (first.missing, second.missing) == (sorted(order[1:]), [order[2]])
    assert third.whole is not None
    assert contents(third.whole) == expected
    assert sorted(read) == [path.name for path in files]
    assert sorted((first.left_out | second.left_out | third.left_out).items()) == sorted(third.whole.reasons.items())
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("total", [1, 2, 7, 9])
def test_any_number_of_parts_works_even_more_than_files(
    total: int, files: list[Path], tmp_path: Path, expected: dict[str, bytes]
) -> None:
    built = [build_part(index, total, files, tmp_path) for index in range(total)]
    assert [part.whole is not None for part in built] == [False] * (total - 1) + [True]
    assert built[-1].whole is not None
    assert contents(built[-1].whole) == expected


def test_existing_part_is_not_computed_again(files: list[Path], tmp_path: Path, read: list[str]) -> None:
    assert build_part(1, 3, files, tmp_path).computed
    assert read == ["1.wav", "4.wav"]
    again = build_part(1, 3, files, tmp_path)
    assert (again.computed, again.missing, read) == (False, [0, 2], ["1.wav", "4.wav"])
    build_part(0, 3, files, tmp_path)
    build_part(2, 3, files, tmp_path)
    num = len(read)
    after = build_part(1, 3, files, tmp_path)
    assert (after.computed, after.missing, len(read)) == (False, [], num)
    assert after.whole is not None
    assert leftovers(tmp_path) == []


def test_parts_in_processes_at_the_same_time_give_the_bytes_of_a_single_build(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes]
) -> None:
    for _ in range(5):  # each part twice, as if a task is requeued before it ends
        tasks = [(index, 3, files, tmp_path) for index in (0, 1, 2, 2, 1, 0)]
        assert in_processes(build_part, tasks) == [0] * 6
        assert leftovers(tmp_path) == []
        (folder,) = (path.parent for path in (tmp_path / "cache").rglob("index.npz"))
        assert contents(SpectrogramStore(folder)) == expected
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_parts_and_a_whole_build_can_run_at_the_same_time(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes]
) -> None:
    def task(index: int) -> None:
        build_part(index, 3, files, tmp_path) if index < 3 else build_all(files, tmp_path)

    assert in_processes(task, [(index,) for index in (0, 3, 1, 3, 2)]) == [0] * 5
    assert contents(build_all(files, tmp_path)) == expected
    assert leftovers(tmp_path) == []


def test_part_overtaken_by_a_whole_build_succeeds(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = pipeline_module.process

    def be_overtaken(path: Path, pipeline: Pipeline) -> Any:
        monkeypatch.setattr(pipeline_module, "process", process)
        build_all(files, tmp_path)
        return process(path, pipeline)

    monkeypatch.setattr(pipeline_module, "process", be_overtaken)
    built = build_part(0, 2, files, tmp_path)
    assert built.missing == []
    assert built.whole is not None
    assert contents(built.whole) == expected
    assert leftovers(tmp_path) == []


def killed_at(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that kills its process on its `count`-th call."""
    calls = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    return call


def test_killed_part_starts_again(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "process", killed_at(2, pipeline_module.process))
        assert in_processes(build_part, [(0, 2, files, tmp_path)]) == [-signal.SIGKILL]
    (parts,) = (tmp_path / "cache").glob("*.parts")
    assert (parts / "0-of-2.unfinished").exists()
    assert build_part(1, 2, files, tmp_path).missing == [0]
    built = build_part(0, 2, files, tmp_path)
    assert built.computed
    assert built.whole is not None
    assert contents(built.whole) == expected
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("finish", ["a part again", "all"])
def test_parts_survive_a_kill_during_the_merge(
    finish: str,
    files: list[Path],
    tmp_path: Path,
    expected: dict[str, bytes],
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_part(0, 2, files, tmp_path)
    with monkeypatch.context() as patch:
        die = killed_at(3 + 5, cache.StoreWriter.add)  # three files of the part and five of the whole store
        patch.setattr(cache.StoreWriter, "add", die)
        assert in_processes(build_part, [(1, 2, files, tmp_path)]) == [-signal.SIGKILL]
    (parts,) = (tmp_path / "cache").glob("*.parts")
    assert sorted(path.name for path in parts.iterdir() if path.is_dir()) == ["0-of-2", "1-of-2"]
    read.clear()
    store = build_all(files, tmp_path) if finish == "all" else build_part(0, 2, files, tmp_path).whole
    assert store is not None
    assert contents(store) == expected
    assert read == []
    assert leftovers(tmp_path) == []


def test_parts_left_by_a_kill_after_the_merge_are_removed_by_the_next_run(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_part(0, 2, files, tmp_path)
    with monkeypatch.context() as patch:
        rename = Path.rename

        def rename_and_die(path: Path, target: Path) -> None:
            rename(path, target)
            if not target.name.endswith("-of-2"):
                os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(Path, "rename", rename_and_die)
        assert in_processes(build_part, [(1, 2, files, tmp_path)]) == [-signal.SIGKILL]
    assert [name.rsplit(".")[-1] for name in leftovers(tmp_path)] == ["parts"]
    assert contents(build_all(files, tmp_path)) == expected
    assert leftovers(tmp_path) == []


def test_whole_build_computes_only_files_in_no_part(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes], read: list[str]
) -> None:
    build_part(2, 3, files, tmp_path)
    build_part(0, 3, files, tmp_path)
    read.clear()
    assert contents(build_all(files, tmp_path)) == expected
    assert read == ["1.wav", "4.wav"]
    assert leftovers(tmp_path) == []


def test_parts_of_different_n_are_not_mixed(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes], read: list[str]
) -> None:
    build_part(0, 3, files, tmp_path)
    built = build_part(1, 2, files, tmp_path)
    assert (built.missing, built.whole) == ([0], None)
    assert build_part(2, 3, files, tmp_path).missing == [1]
    read.clear()
    assert contents(build_all(files, tmp_path)) == expected
    assert read == ["1.wav", "4.wav"]  # the thirds contain five files, the half three
    assert leftovers(tmp_path) == []


def test_changed_content_or_settings_need_new_parts(files: list[Path], tmp_path: Path) -> None:
    build_part(0, 2, files, tmp_path)
    soundfile.write(files[1], np.random.default_rng(1).standard_normal(4000) / 9, 8000)
    assert build_part(1, 2, files, tmp_path).missing == [0]
    other = Pipeline(PIPELINE.transform)
    assert cached_part(Part(0, 2), files, other, tmp_path / "cache", 1).missing == [1]
    assert len(list((tmp_path / "cache").glob("*.parts"))) == 3


@pytest.mark.parametrize("damage", FILES)
def test_damaged_part_is_computed_again(
    damage: str, files: list[Path], tmp_path: Path, expected: dict[str, bytes], read: list[str]
) -> None:
    build_part(0, 2, files, tmp_path)
    (path,) = (tmp_path / "cache").glob(f"*.parts/0-of-2/{damage}")
    path.write_bytes(path.read_bytes()[:-1])
    read.clear()
    built = build_part(1, 2, files, tmp_path)  # finds the other part and that it is damaged
    assert sorted(read) == [path.name for path in files]
    assert built.whole is not None
    assert contents(built.whole) == expected


@pytest.mark.parametrize("text", ["5/3", "3/3", "0/0", "x", "", "1", "-1/3", "1/-3", "1/2/3", "1.0/3", "1/3 ", "1/3\n"])
def test_invalid_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a part K/N with K from 0 to N - 1, such as 0/16, got "):
        parse_part(text)
