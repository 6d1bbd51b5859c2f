"""Shards hold what the store holds, and the training takes it in the order of its stream."""

import sys
from dataclasses import replace
from itertools import chain, islice, pairwise
from pathlib import Path

import pytest
import torch
import yaml

import audiogen
from audiogen.__main__ import main
from audiogen.audio.silence import TrimSilence
from audiogen.cli import main as train
from audiogen.data import shards
from audiogen.data.build import Recipe
from audiogen.data.dataset import DatasetError
from audiogen.data.folder import ClassFolders
from audiogen.data.loading import LoadedData, load
from audiogen.data.shards import load_shards, new_shard_folder, write_shards
from audiogen.data.stream import BatchStream
from audiogen.transforms.mel import LogMel
from tests.tiny_run import arguments, write_classes

pytest.importorskip("webdataset", reason="needs the extra 'shards'")
RECIPE = Recipe(LogMel(8000, 512, 128, n_mels=32, num_frames=16), crop="random")


@pytest.fixture
def data(tmp_path: Path) -> LoadedData:
    """Return 14 clips to train on and 4 to validate, of several lengths."""
    write_classes(tmp_path / "data", {"low": 300, "high": 2000}, num=9)
    clips = ClassFolders(val_share=0.23).scan(tmp_path / "data")
    return load(clips, RECIPE, tmp_path / "cache")


def test_shards_hold_every_clip_of_the_store_once(data: LoadedData, tmp_path: Path) -> None:
    assert write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 4) == 4 + 1
    read = load_shards(str(tmp_path / "shards"), RECIPE)
    assert read.label_names == data.label_names
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 14, "val": 4}
    for name, split in data.splits.items():
        there = {(split.take([i]).numpy().tobytes(), int(split.label[i])) for i in range(len(split))}
        other = read.splits[name]
        assert {(other.take([i]).numpy().tobytes(), int(other.label[i])) for i in range(len(split))} == there
    assert sorted(read.splits["train"].store.num_frames.tolist()) == sorted(data.store.num_frames.tolist())


def test_stream_goes_through_shards_one_by_one_and_shows_every_clip_once() -> None:
    groups = [4, 4, 4, 2]
    stream = BatchStream(14, 7, seed=0, groups=groups)
    for _ in range(2):
        places = [index for index, _ in chain(*islice(stream, 2))]
        assert sorted(places) == list(range(14))
        shard_of = [place // 4 for place in places]
        assert sum(a != b for a, b in pairwise(shard_of)) == 3
    orders = {
        tuple(index for index, _ in chain(*islice(BatchStream(14, 7, seed, groups=groups), 2))) for seed in range(9)
    }
    assert len(orders) == 9


def test_shards_in_memory_are_few(data: LoadedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 2)
    store = load_shards(str(tmp_path / "shards"), RECIPE).splits["train"].store
    for segment in range(14):
        store.frames(segment)
        assert len(store._kept) <= shards.KEPT_SHARDS


def test_training_on_shards_continues_as_if_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_classes(tmp_path / "data", {"low": 300, "high": 2000})
    recipe = {
        "data": {
            "dataset": {"class_path": "audiogen.data.folder.ClassFolders"},
            "transform": {
                "class_path": "audiogen.transforms.mel.LogMel",
                "init_args": {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 32, "num_frames": 32},
            },
        }
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    where = ["--data.root", str(folder), "--shards", str(tmp_path / "shards"), "--clips_per_shard", "5"]
    monkeypatch.setattr(sys, "argv", ["audiogen", "prepare", "--config", str(tmp_path / "recipe.yaml"), *where])
    main()
    more = ["--data.shards", str(tmp_path / "shards")]
    train(arguments(tmp_path / "no folder", tmp_path / "whole", 0.016, *more))
    train(arguments(tmp_path / "no folder", tmp_path / "parts", 0.008, *more))
    train(arguments(tmp_path / "no folder", tmp_path / "parts", 0.016, *more, "--ckpt_path", "last"))
    weights = [audiogen.load(tmp_path / run).state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_other_spectrograms_than_the_configured_are_refused(data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 4)
    for recipe, name in (
        (replace(RECIPE, transform=LogMel(8000, 512, 128, n_mels=32, num_frames=16, floor_db=-70)), "transform"),
        (replace(RECIPE, crop="start"), "crop"),
        (replace(RECIPE, steps=(TrimSilence(),)), "steps"),
    ):
        with pytest.raises(DatasetError, match=f"were written with other settings of data: {name}$"):
            load_shards(str(tmp_path / "shards"), recipe)


@pytest.mark.parametrize("damage", ["cut", "clip missing", "missing"])
def test_damaged_shard_is_named(data: LoadedData, tmp_path: Path, damage: str) -> None:
    write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 4)
    shard = tmp_path / "shards" / "train-000000.tar"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:3000])
    elif damage == "missing":
        shard.unlink()
    else:
        (tmp_path / "shards" / "train-000003.tar").rename(shard)  # of two clips
    clips = load_shards(str(tmp_path / "shards"), RECIPE).splits["train"]
    with pytest.raises(DatasetError, match=r"shard .*train-000000\.tar"):
        clips.take([0])


def test_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no shards in "):
        load_shards(str(tmp_path), RECIPE)


def test_shards_are_not_written_over(data: LoadedData, tmp_path: Path) -> None:
    write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 4)
    with pytest.raises(DatasetError, match="holds shards already"):
        write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 4)


def test_missing_extra_is_named(data: LoadedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(DatasetError, match=r"pip install 'audiogen\[shards\]'"):
        write_shards(data, RECIPE, new_shard_folder(str(tmp_path / "shards")), 4)


def test_verbs_that_need_sounds_refuse_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--data.dataset",
        "audiogen.data.folder.ClassFolders",
        "--data.transform",
        "audiogen.transforms.mel.LogMel",
    ]
    monkeypatch.setattr(sys, "argv", ["audiogen", "inspect", *flags, "--data.shards", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "shards hold no sounds" in capsys.readouterr().err
