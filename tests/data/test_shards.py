"""Shards contain the same clips as the store, and training takes them in the order of its stream."""

import gzip
import json
import os
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import audiogen
from audiogen.__main__ import main
from audiogen.audio.silence import TrimSilence
from audiogen.cli import main as train
from audiogen.data import shards
from audiogen.data.datasets.archive import MAX_HEADER
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.loading import LoadedData, load
from audiogen.data.pipeline import Pipeline
from audiogen.data.shards import load_shards, new_shard_folder, write_shards
from audiogen.data.stream import BatchStream
from audiogen.transforms.mel import LogMel
from tests.full_disk import limited_files
from tests.tiny_run import arguments, write_classes

pytest.importorskip("webdataset", reason="needs the extra 'shards'")
PIPELINE = Pipeline(LogMel(8000, 512, 128, n_mels=32, num_frames=16), crop="random")


@pytest.fixture
def data(tmp_path: Path) -> LoadedData:
    """Return 14 training clips and 4 validation clips of several lengths."""
    write_classes(tmp_path / "data", {"low": 300, "high": 2000}, num=9)
    clips = ClassFolders(val_fraction=0.23).scan(tmp_path / "data")
    return load(clips, PIPELINE, tmp_path / "cache")


def test_shards_contain_every_clip_of_the_store_once(data: LoadedData, tmp_path: Path) -> None:
    assert write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4) == 4 + 1
    read = load_shards(str(tmp_path / "shards"), PIPELINE)
    assert read.label_names == data.label_names
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 14, "val": 4}
    for name, split in data.splits.items():
        there = {(split.take([i]).numpy().tobytes(), int(split.label[i])) for i in range(len(split))}
        other = read.splits[name]
        assert {(other.take([i]).numpy().tobytes(), int(other.label[i])) for i in range(len(split))} == there
    assert sorted(read.splits["train"].store.num_frames.tolist()) == sorted(data.store.num_frames.tolist())


def test_stream_visits_shards_one_by_one_and_shows_every_clip_once() -> None:
    groups = [4, 4, 4, 2]
    stream = BatchStream(14, 7, seed=0, groups=groups)
    for _ in range(2):
        order = [index for index, _ in chain(*islice(stream, 2))]
        assert sorted(order) == list(range(14))
        shard_of = [clip // 4 for clip in order]
        assert sum(a != b for a, b in pairwise(shard_of)) == 3
    orders = {
        tuple(index for index, _ in chain(*islice(BatchStream(14, 7, seed, groups=groups), 2))) for seed in range(9)
    }
    assert len(orders) == 9


def test_few_shards_are_kept_in_memory(data: LoadedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 2)
    store = load_shards(str(tmp_path / "shards"), PIPELINE).splits["train"].store
    for segment in range(14):
        store.frames(segment)
        assert len(store._kept) <= shards.KEPT_SHARDS


def test_resumed_training_on_shards_equals_uninterrupted_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_classes(tmp_path / "data", {"low": 300, "high": 2000})
    pipeline = {
        "data": {
            "dataset": {"class_path": "audiogen.data.datasets.folder.ClassFolders"},
            "transform": {
                "class_path": "audiogen.transforms.mel.LogMel",
                "init_args": {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 32, "num_frames": 32},
            },
        }
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    where = ["--data.root", str(folder), "--shards", str(tmp_path / "shards"), "--clips_per_shard", "5"]
    monkeypatch.setattr(sys, "argv", ["audiogen", "prepare", "--config", str(tmp_path / "pipeline.yaml"), *where])
    main()
    more = ["--data.shards", str(tmp_path / "shards")]
    train(arguments(tmp_path / "no folder", tmp_path / "whole", 0.016, *more))
    train(arguments(tmp_path / "no folder", tmp_path / "parts", 0.008, *more))
    train(arguments(tmp_path / "no folder", tmp_path / "parts", 0.016, *more, "--ckpt_path", "last"))
    weights = [audiogen.load(tmp_path / run).state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_shards_with_other_settings_are_refused(data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    for pipeline, name in (
        (replace(PIPELINE, transform=LogMel(8000, 512, 128, n_mels=32, num_frames=16, floor_db=-70)), "transform"),
        (replace(PIPELINE, crop="start"), "crop"),
        (replace(PIPELINE, steps=(TrimSilence(),)), "steps"),
    ):
        with pytest.raises(DatasetError, match=f"were written with different data settings: {name}$"):
            load_shards(str(tmp_path / "shards"), pipeline)


@pytest.mark.parametrize("damage", ["cut", "clip missing", "missing"])
def test_damaged_shard_is_named(data: LoadedData, tmp_path: Path, damage: str) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    shard = tmp_path / "shards" / "train-000000.tar"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:3000])
    elif damage == "missing":
        shard.unlink()
    else:
        (tmp_path / "shards" / "train-000003.tar").rename(shard)  # has two clips
    clips = load_shards(str(tmp_path / "shards"), PIPELINE).splits["train"]
    with pytest.raises(DatasetError, match=r"shard .*train-000000\.tar"):
        clips.take([0])


def npy(shape: tuple[int, ...], data: bytes, kind: str = "<i2", pickled: bool = False) -> bytes:
    """Return a .npy file with a custom header."""
    if pickled:
        content = BytesIO()
        np.save(content, np.array([Marker()], dtype=object), allow_pickle=True)
        return content.getvalue()
    content = BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": shape, "fortran_order": False, "descr": kind})
    return content.getvalue() + data


class Marker:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("unpickled", "w")


def replace_first_clip(shard: Path, data: bytes, **attributes: Any) -> None:
    with tarfile.open(shard) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as archive:
        for member, content in [(members[0][0], data), *members[1:]]:
            member.size = len(content)
            if content is data:
                for key, value in attributes.items():
                    setattr(member, key, value)
            archive.addfile(member, BytesIO(content))


@pytest.mark.parametrize(
    ("content", "attributes", "reason"),
    [
        (npy((1 << 40, 1, 32), b""), {}, "bytes, expected about"),
        (npy((1 << 40, 1, 32), bytes(64 * 24)), {}, "its header has"),
        (npy((24, 1, 32), bytes(64 * 24 + 2)), {}, "cannot reshape"),
        (npy((24, 1, 32), bytes(64 * 24), "<f2"), {}, "its header has"),
        (bytes(1 << 24), {}, "has 16777216 bytes, expected about"),
        (npy((), b"", pickled=True) + bytes(1500), {}, "its header has"),
        (b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is not a clip"),
    ],
    ids=["huge header", "huge header of its size", "more data", "floats", "bomb", "pickle", "link"],
)
def test_clip_that_contradicts_the_index_is_refused_unread(
    data: LoadedData,
    tmp_path: Path,
    content: bytes,
    attributes: dict[str, Any],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    monkeypatch.chdir(tmp_path)
    index = json.loads((tmp_path / "shards" / "index.json").read_text())
    index["shards"][0]["num_frames"][0] = 24
    (tmp_path / "shards" / "index.json").write_text(json.dumps(index))
    replace_first_clip(tmp_path / "shards" / "train-000000.tar", content, **attributes)
    store = load_shards(str(tmp_path / "shards"), PIPELINE).splits["train"].store
    with pytest.raises(DatasetError, match=rf"cannot read shard .*train-000000\.tar.*{reason}"):
        store.frames(0)
    assert not (tmp_path / "unpickled").exists()


def test_compressed_shard_is_not_unpacked(data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    shard = tmp_path / "shards" / "train-000000.tar"
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    store = load_shards(str(tmp_path / "shards"), PIPELINE).splits["train"].store
    with pytest.raises(DatasetError, match="cannot read shard"):
        store.frames(0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda index: index["shards"][0].update(name="../outside.tar"), "names other than shards"),
        (lambda index: index["shards"][0].update(name="/dev/zero"), "names other than shards"),
        (lambda index: index["shards"][0].update(name="a'; touch hacked; '.tar"), "names other than shards"),
        (lambda index: index["shards"][0].update(split="all"), "names other than shards"),
        (lambda index: index["shards"][0]["label"].__setitem__(0, 2), "out of range"),
        (lambda index: index["shards"][0]["num_frames"].__setitem__(0, 1 << 62), "out of range"),
        (lambda index: index["shards"][0]["num_frames"].__setitem__(0, 3), "out of range"),
        (lambda index: index["shards"][0]["label"].pop(), "out of range"),
        (lambda index: index.update(label_names=["low", "/etc/high"]), "names other than shards"),
        (lambda index: index.pop("pipeline"), "not an index of shards: KeyError 'pipeline'"),
        (lambda index: index.update(shards=[3]), "not an index of shards"),
    ],
)
def test_invalid_index_is_refused(data: LoadedData, tmp_path: Path, change: Any, reason: str) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    index = json.loads((tmp_path / "shards" / "index.json").read_text())
    change(index)
    (tmp_path / "shards" / "index.json").write_text(json.dumps(index))
    with pytest.raises(DatasetError, match=rf"index\.json is.*{reason}"):
        load_shards(str(tmp_path / "shards"), PIPELINE)


@pytest.mark.parametrize(
    "url",
    ["pipe:touch {0}; echo ", "pipe://touch {0};", "PIPE:touch {0}; echo ://", " pipe:touch {0}; ://", "file:///{0}"],
)
def test_url_never_runs_a_command(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no shards in"):
        load_shards(url.format(tmp_path / "hacked"), PIPELINE)
    assert not (tmp_path / "hacked").exists()


def test_shards_are_read_from_a_url(data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    near, far = (load_shards(url, PIPELINE).splits for url in (str(tmp_path / "shards"), f"file://{tmp_path}/shards"))
    torch.testing.assert_close(far["val"].take([0, 1]), near["val"].take([0, 1]), rtol=0, atol=0)


def test_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no shards in "):
        load_shards(str(tmp_path), PIPELINE)


def test_existing_shards_are_not_overwritten(data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    with pytest.raises(DatasetError, match="already contains shards"):
        write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)


def test_missing_extra_is_named(data: LoadedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(DatasetError, match=r"pip install 'audiogen\[shards\]'"):
        write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)


def test_commands_that_need_sounds_refuse_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--data.dataset",
        "audiogen.data.datasets.folder.ClassFolders",
        "--data.transform",
        "audiogen.transforms.mel.LogMel",
    ]
    monkeypatch.setattr(sys, "argv", ["audiogen", "inspect", *flags, "--data.shards", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "shards contain no sounds" in capsys.readouterr().err


def rewrite_shard(folder: Path, change: Callable[[tarfile.TarInfo], bytes | None], kind: int) -> None:
    """Rewrite the first shard of a folder with its first member changed."""
    shard = folder / "train-000000.tar"
    with tarfile.open(shard) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(shard, "w", format=kind) as archive:
        for number, (member, content) in enumerate(members):
            data = change(member) if number == 0 else None
            archive.addfile(member, BytesIO(content if data is None else data))


HEADERS: dict[str, tuple[Callable[[tarfile.TarInfo], bytes | None], int]] = {
    "PAX": (lambda member: member.pax_headers.update(comment="x" * (2 * MAX_HEADER)), tarfile.PAX_FORMAT),
    "GNU": (lambda member: setattr(member, "name", "x" * (2 * MAX_HEADER)), tarfile.GNU_FORMAT),
    "sparse": (
        lambda member: member.pax_headers.update(
            {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}
        ),
        tarfile.PAX_FORMAT,
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_a_shard_are_limited(name: str, data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    rewrite_shard(tmp_path / "shards", *HEADERS[name])
    store = load_shards(str(tmp_path / "shards"), PIPELINE).splits["train"].store
    reason = "is not a clip" if name == "sparse" else "a header in it exceeds|exceeds the expected [0-9]+ bytes"
    with pytest.raises(DatasetError, match=rf"cannot read shard .*({reason})"):
        store.frames(0)


@pytest.mark.parametrize("name", ["index.json", "train-000000.tar"])
@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_pipes_and_devices_are_refused_as_shards(name: str, url: str, data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    (tmp_path / "shards" / name).unlink()
    os.mkfifo(tmp_path / "shards" / name)
    with pytest.raises(DatasetError, match="expected a regular file"):
        load_shards(url.format(tmp_path / "shards"), PIPELINE).splits["train"].store.frames(0)


def test_interrupted_writing_leaves_no_index_and_can_be_repeated(
    data: LoadedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not leave a partial index."""
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "whole")), 4)
    size = (tmp_path / "whole" / "index.json").stat().st_size
    write_text = shards.write_text

    def write_with_little_room(path: Path, text: str) -> None:
        with limited_files(size // 2):
            write_text(path, text)

    monkeypatch.setattr(shards, "write_text", write_with_little_room)
    with pytest.raises(OSError, match=r"File too large: .*index\.json"):
        write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards")), 4)
    monkeypatch.undo()
    assert not (tmp_path / "shards" / "index.json").exists()
    with pytest.raises(ValueError, match="holds an earlier result"):
        new_shard_folder(str(tmp_path / "shards"))
    write_shards(data, PIPELINE, new_shard_folder(str(tmp_path / "shards"), overwrite=True), 6)
    names = {path.name for path in (tmp_path / "shards").glob("*.tar")}
    assert names == {shard["name"] for shard in json.loads((tmp_path / "shards" / "index.json").read_text())["shards"]}


def test_shards_are_not_written_among_the_sounds(data: LoadedData, tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "index.html").touch()
    with pytest.raises(ValueError, match="holds files that audiogen did not write there"):
        new_shard_folder(str(tmp_path / "sounds"))
