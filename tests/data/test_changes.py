"""Sounds and stores that change, disappear or are damaged, while in use and between runs."""

import faulthandler
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiogen.data import digests
from audiogen.data import pipeline as pipeline_module
from audiogen.data.cache import cached_store
from audiogen.data.digests import file_digests
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import SpectrogramStore
from audiogen.transforms.mel import LogMel

PIPELINE = Pipeline(LogMel(8000, 256, 64, 24, 24))
FILES = ("frames.i16", "index.npz", "records.jsonl")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Write enough noise that the stored frames fill several pages of memory."""
    random = np.random.default_rng(0)
    for index in range(12):
        soundfile.write(tmp_path / f"{index:02}.wav", 0.1 * random.standard_normal(2000 + 10 * index), 8000)
    return sorted(tmp_path.glob("*.wav"))


def open_store(files: list[Path]) -> SpectrogramStore:
    return cached_store(files, PIPELINE, files[0].parent / "cache", num_workers=1)


def read(store: SpectrogramStore) -> Tensor:
    return store.read(range(len(store.file)), [0.0] * len(store.file), 24)


@pytest.mark.parametrize("change", ["deleted", "rebuilt", "replaced"])
def test_open_store_stays_readable_after_its_files_are_replaced(change: str, files: list[Path]) -> None:
    expected = read(open_store(files))
    store = open_store(files)
    if change == "replaced":
        other = store.folder / "other"
        other.write_bytes(bytes((store.folder / "frames.i16").stat().st_size))
        other.replace(store.folder / "frames.i16")
    else:
        shutil.rmtree(store.folder)
    if change == "rebuilt":
        assert torch.equal(read(open_store(files)), expected)
    assert torch.equal(read(store), expected)


def test_store_truncated_while_read_ends_the_process_and_is_rebuilt_at_the_next_start(
    files: list[Path],
) -> None:
    expected = read(open_store(files))

    def cut_short() -> None:
        faulthandler.disable()  # pytest's handler would print a traceback
        store = open_store(files)
        with (store.folder / "frames.i16").open("r+b") as file:
            file.truncate(100)
        store.frames(len(store.file) - 1)  # the first page would read as zeros and fail its checksum

    process = multiprocessing.get_context("fork").Process(target=cut_short)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGBUS  # which Python cannot catch
    assert torch.equal(read(open_store(files)), expected)


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut short", "longer"])
def test_damaged_store_is_detected_and_rebuilt_at_the_next_start(name: str, damage: str, files: list[Path]) -> None:
    files[3].write_bytes(b"no sound")
    store = open_store(files)
    expected, path = read(store), store.folder / name
    content = path.read_bytes()
    changed = {"empty": b"", "cut short": content[: len(content) // 2], "longer": content + b"more"}
    path.unlink() if damage == "missing" else path.write_bytes(changed[damage])
    again = open_store(files)
    assert torch.equal(read(again), expected)
    assert (again.folder / name).read_bytes() == content
    assert [record.reason for record in again.records()].count("") == 11


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("name", FILES)
def test_flipped_bit_anywhere_in_a_store_is_detected_and_repaired(name: str, files: list[Path]) -> None:
    files[3].write_bytes(b"no sound")
    store = open_store(files)
    expected, records, path = read(store), list(store.records()), store.folder / name
    content = path.read_bytes()
    for position in range(0, len(content), max(len(content) // 40, 1)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
        again = open_store(files)
        assert torch.equal(read(again), expected)
        assert list(again.records()) == records
        assert path.read_bytes() == content


def test_damage_to_an_open_store_is_detected_on_first_read_and_repaired(files: list[Path]) -> None:
    expected = read(open_store(files))
    store = open_store(files)
    frames = np.fromfile(store.folder / "frames.i16", np.int16)
    frames[len(frames) // 2 :] += np.random.default_rng(0).integers(0, 9, len(frames) - len(frames) // 2, np.int16)
    (store.folder / "frames.i16").write_bytes(b"")  # same file, which the store has mapped
    frames.tofile(store.folder / "frames.i16")
    with pytest.warns(UserWarning, match=r"wrong checksum of frames\.i16, segment \d+\. Rebuilding"):
        assert torch.equal(read(store), expected)
    assert open_store(files).is_whole()


def test_irreparable_damage_is_an_error_naming_the_store(files: list[Path]) -> None:
    store = open_store(files)
    with (store.folder / "frames.i16").open("r+b") as file:
        file.write(b"noise")
    with pytest.raises(OSError, match=r"wrong checksum of frames\.i16, segment 0"):
        SpectrogramStore(store.folder).frames(0)
    (store.folder / "records.jsonl").write_bytes((store.folder / "records.jsonl").read_bytes()[::-1])
    with pytest.raises(OSError, match=r"wrong checksum of records\.jsonl"):
        list(SpectrogramStore(store.folder).records())
    soundfile.write(files[0], np.random.default_rng(2).standard_normal(2000) / 9, 8000)
    with pytest.warns(UserWarning, match="Rebuilding"), pytest.raises(OSError, match="audio files changed"):
        read(store)


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_damaged_digests_are_computed_again(files: list[Path], tmp_path: Path) -> None:
    expected = file_digests(files, tmp_path)
    path = tmp_path / "digests.sqlite"
    content = path.read_bytes()
    for digest in expected:
        position = content.index(digest.encode())
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert file_digests(files, tmp_path) == expected


@pytest.fixture
def while_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Path, Callable[[], object], Callable[[], object]], None]:
    """Return a function that sets what happens before and after a file is read."""

    def plan(path: Path, before: Callable[[], object], after: Callable[[], object]) -> None:
        process = pipeline_module.process

        def changing(found: Path, pipeline: Pipeline) -> Any:
            if found == path:
                before()
            processed = process(found, pipeline)
            if found == path:
                after()
            return processed

        monkeypatch.setattr(pipeline_module, "process", changing)

    return plan


def nothing() -> None:
    """Change nothing."""


def test_sound_deleted_before_the_build_is_left_out_by_name(files: list[Path]) -> None:
    files[4].unlink()
    assert open_store(files).reasons == {4: "unreadable (no such file)"}


def test_sound_deleted_while_others_are_read_is_an_error(files: list[Path], while_reading: Any) -> None:
    while_reading(files[2], lambda: files[4].unlink(missing_ok=True), nothing)
    with pytest.raises(OSError, match=r"04\.wav was readable before and is now unreadable \(no such file\)"):
        open_store(files)
    assert not list((files[0].parent / "cache").rglob("index.npz"))
    assert open_store(files).reasons == {4: "unreadable (no such file)"}


def test_sound_deleted_after_it_was_read_is_an_error(files: list[Path], while_reading: Any) -> None:
    while_reading(files[4], nothing, files[4].unlink)
    with pytest.raises(OSError, match=r"1 audio files changed while they were read, such as .*04\.wav: start again"):
        open_store(files)
    assert not list((files[0].parent / "cache").rglob("index.npz"))


def test_sound_missing_only_while_read_is_an_error_and_not_left_out_for_good(
    files: list[Path], while_reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = files[4].with_suffix(".away")
    while_reading(files[4], lambda: files[4].rename(away), lambda: away.rename(files[4]))
    with pytest.raises(OSError, match=r"04\.wav was readable before"):
        open_store(files)
    monkeypatch.undo()
    assert open_store(files).reasons == {}


def test_sound_changed_before_it_is_read_is_an_error(files: list[Path], while_reading: Any) -> None:
    def change() -> None:
        soundfile.write(files[9], np.random.default_rng(1).standard_normal(2000) / 9, 8000)

    while_reading(files[2], change, nothing)
    with pytest.raises(OSError, match=r"1 audio files changed while they were read, such as .*09\.wav: start again"):
        open_store(files)
    assert not list((files[0].parent / "cache").rglob("index.npz"))


def test_sound_changed_between_two_runs_gives_a_new_store(files: list[Path]) -> None:
    before = open_store(files)
    soundfile.write(files[9], np.random.default_rng(1).standard_normal(2000) / 9, 8000)
    after = open_store(files)
    assert after.folder != before.folder
    same = [index for index in range(12) if index != 9]
    assert torch.equal(read(after)[same], read(before)[same])
    assert not torch.equal(read(after)[9], read(before)[9])


def test_digest_of_a_temporarily_unreadable_sound_is_not_cached(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(digests, "file_digest", lambda path: "unreadable: 5")  # EIO; the file itself does not change
        assert set(file_digests(files, tmp_path)) == {"unreadable: 5"}
    assert len(set(file_digests(files, tmp_path))) == 12
