"""A file that may be from others chooses no path, no cache and no download."""

import importlib
import json
import os
import pkgutil
import shutil
import typing
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml
from torch import nn

import audiogen
from audiogen.audio.preprocess import PreprocessStep
from audiogen.checkpoint import load
from audiogen.cli import main as train
from audiogen.commands.run_config import find_root
from audiogen.data.datasets.dataset import AudioDataset
from audiogen.provenance import is_own, signed
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.trust import PARTS_OF_RUNS, PATH_ARGUMENTS, Builder, MismatchError
from tests.evil import DIGITS, content_of
from tests.tiny_classifier import write_classifier
from tests.tiny_run import arguments

# Texts that name no file: choices, layers, classes, and parts of metrics' names.
HARMLESS = {"name", "kind", "monitor", "content_layer"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a run of this user, and a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    data, classifier = write_classifier(folder / "classifier")
    scale = ("--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20")
    train(arguments(data, folder / "run", 0.008, *scale))
    return folder / "run", classifier


def theirs(run: Path, folder: Path, **changes: Any) -> Path:
    """Copy a run as if somebody had sent it, with other settings of the data."""
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"] |= changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_own_run_is_evaluated_by_its_own_data_wherever_it_lies(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run, classifier = runs
    assert is_own(run / "config.yaml")
    shutil.copytree(run, tmp_path / "moved")
    found = audiogen.evaluate(str(tmp_path / "moved"), evaluator=str(classifier), split="val", num_clips=20)
    assert not any("ignored" in note for note in found.settings["notes"])


def test_run_of_others_does_not_choose_where_sounds_lie_and_spectrograms_go(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run, classifier = runs
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]["root"]
    folder = theirs(run, tmp_path / "theirs", cache=str(tmp_path / "away"))
    assert not is_own(folder / "config.yaml")
    with pytest.raises(
        ValueError, match=r"are ignored: data\.cache, data\.root\. Name the folder with --root DIR, or trust"
    ):
        audiogen.evaluate(str(folder), evaluator=str(classifier), split="val", num_clips=20)
    found = audiogen.evaluate(str(folder), evaluator=str(classifier), split="val", num_clips=20, root=data)
    assert any("are ignored: data.cache" in note for note in found.settings["notes"])
    assert not (tmp_path / "away").exists()
    assert "note: " in str(found)


def test_run_of_others_downloads_nothing(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run, classifier = runs
    dataset = {"class_path": "audiogen.data.datasets.speech_commands.SpeechCommands", "init_args": {"download": True}}
    folder = theirs(run, tmp_path / "theirs", dataset=dataset, root=str(tmp_path / "away"))
    with pytest.raises(
        ValueError, match=r"data\.dataset\.download, data\.root ignored|data\.root, data\.dataset\.down"
    ):
        audiogen.evaluate(str(folder), evaluator=str(classifier), split="val", num_clips=20)
    assert not (tmp_path / "away").exists()


def test_embeddings_of_a_run_of_others_choose_no_files(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run, classifier = runs
    folder = theirs(run, tmp_path / "theirs")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name, given in (
        ("classifier.Classifier", {"weights": str(classifier)}),
        ("vggish.VGGish", {"download": True, "cache": str(tmp_path / "away")}),
    ):
        embedding = {"class_path": f"audiogen.metrics.embeddings.{name}", "init_args": given}
        callback = {"class_path": "audiogen.callbacks.evaluation.Evaluation", "init_args": {"embeddings": [embedding]}}
        config["trainer"]["callbacks"] = [callback]
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(ValueError, match=r"is required, but paths in a file that may not be your own|no weights"):
            audiogen.evaluate(str(folder), split="val", num_clips=20)
        assert not (tmp_path / "away").exists()


def test_signature_fits_one_content_and_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOGEN_CACHE", str(tmp_path / "mine"))
    config = tmp_path / "config.yaml"
    text = signed("data: {root: sounds}\n")
    config.write_text(text)
    assert is_own(config)
    assert yaml.safe_load(text) == {"data": {"root": "sounds"}}
    config.write_text(text.replace("sounds", "private"))
    assert not is_own(config)
    config.write_text("data: {root: sounds}\n")
    assert not is_own(config)
    config.write_text(text)
    monkeypatch.setenv("AUDIOGEN_CACHE", str(tmp_path / "another"))
    assert not is_own(config)
    monkeypatch.setenv("AUDIOGEN_CACHE", str(tmp_path / "mine"))
    key = tmp_path / "mine" / f"key-{os.getuid()}"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)  # others could have read it
    assert not is_own(config)


def test_without_a_folder_for_the_key_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUDIOGEN_CACHE", str(tmp_path / "file" / "below"))
    assert signed("data: {}\n") == "data: {}\n"


def vggish(folder: Path) -> dict[str, Any]:
    arguments = {"download": True, "cache": str(folder / "away"), "weights": str(folder / "private")}
    return {"class_path": "audiogen.models.vggish_features.VGGishFeatures", "init_args": arguments}


def test_checkpoint_makes_no_folder_and_downloads_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = content_of(DIGITS)
    hparams = {
        "_class_path": "audiogen.models.style_transfer.StyleTransfer",
        "transform": {"class_path": "audiogen.transforms.stft.STFT", "init_args": {"num_frames": 32}},
        "label_names": ["content", "style"],
        "batch_size": 1,
        "extractor": {"class_path": "audiogen.networks.style_cnn.StyleCNN", "init_args": {"width": 8}},
        "content_extractor": vggish(tmp_path),
    }
    torch.save({**content, "hyper_parameters": hparams, "state_dict": {}}, tmp_path / "theirs.ckpt")
    with pytest.raises(ValueError, match=r"does not fit its model .*: no weights .*: set download to true"):
        load(tmp_path / "theirs.ckpt")  # as if none of these had been given
    assert not (tmp_path / "away").exists()
    del hparams["content_extractor"]
    torch.save({**content, "hyper_parameters": hparams | {"weights": "private"}, "state_dict": {}}, tmp_path / "x.ckpt")
    with caplog.at_level("INFO"):
        load(tmp_path / "x.ckpt")
    assert "its paths and downloads are ignored: model.weights" in caplog.text


def package_classes() -> list[type]:
    """Return all classes that a run of others may name."""
    found = {}
    for part in PARTS_OF_RUNS:
        package = importlib.import_module(part)
        for info in pkgutil.walk_packages(package.__path__, f"{part}."):
            module = importlib.import_module(info.name)
            found |= {x: None for x in vars(module).values() if isinstance(x, type) and x.__module__ == info.name}
    return list(found)


def test_every_argument_that_is_a_text_is_known_as_a_place_or_harmless() -> None:
    """So that a new class with a path among its arguments is not forgotten."""
    bases = (nn.Module, AudioDataset, PreprocessStep, PhaseMethod, lightning.Callback, lightning.LightningDataModule)
    texts = (str, str | None, str | Path, str | Path | None, Path, Path | None)
    unknown = set()
    for kind in package_classes():
        if not issubclass(kind, bases) or "__init__" not in vars(kind):
            continue
        for name, hint in typing.get_type_hints(kind.__init__).items():
            if (hint in texts or name == "download") and name not in PATH_ARGUMENTS | HARMLESS:
                unknown.add(f"{kind.__name__}({name})")
    assert unknown == set()


class Plain:
    """Takes what a file may choose."""

    def __init__(self, width: int, path: str, cache: str | None = None) -> None:
        self.width, self.path, self.cache = width, path, cache


def test_places_that_a_class_needs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOGEN_TRUST", "tests.test_places")
    spec = {"class_path": "tests.test_places.Plain", "init_args": {"width": 3, "path": "x", "cache": "y"}}
    kind = importlib.import_module("tests.test_places").Plain
    with pytest.raises(MismatchError, match=r"thing\.path is required"):
        Builder(Path("file"), ()).build(spec, kind, "thing")
    made = Builder(Path("file"), (), own=True).build(spec, kind, "thing")
    assert (made.width, made.path, made.cache) == (3, "x", "y")


@pytest.mark.parametrize("where", ["here", "run", "above"])
def test_relative_data_folder_is_found_from_the_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "project" / "runs" / "one"
    run.mkdir(parents=True)
    base = {"here": tmp_path / "here", "run": run, "above": tmp_path / "project"}[where]
    (base / "sounds").mkdir(parents=True)
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    (run / "config.yaml").write_text(json.dumps({"data": {"root": "sounds"}}))
    found = find_root(run / "config.yaml")
    assert found is not None
    assert Path(found).resolve() == (base / "sounds").resolve()
    domains = {"class_path": "audiogen.data.datasets.domains.Domains", "init_args": {"a": "sounds", "b": "sounds"}}
    (run / "config.yaml").write_text(json.dumps({"data": {"root": None, "dataset": domains}}))
    assert find_root(run / "config.yaml") == (None if where == "here" else str(base))


def test_missing_split_says_which_to_use(runs: tuple[Path, Path]) -> None:
    run, classifier = runs
    for against in (None, str(run / "config.yaml"), str(run)):
        with pytest.raises(ValueError, match="this data set has no test split: use --split val"):
            audiogen.evaluate(str(run), against=against, evaluator=str(classifier))


@pytest.mark.parametrize("name", ["checkpoints", "samples", "samples/real"])
def test_run_of_others_is_not_continued_through_links(name: str, runs: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = runs
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]["root"]
    folder = theirs(run, tmp_path / "theirs")
    (folder / name).rename(tmp_path / "mine")
    (folder / name).symlink_to(tmp_path / "mine")
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"{name} is a link, and .*theirs may come from somebody else"):
        train(arguments(Path(data), folder, 0.016, "--ckpt_path", "last"))
    assert {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "events.jsonl", ".lock"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_files_of_a_run_are_not_followed_where_it_is_continued(
    name: str, kind: str, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run, _ = runs
    config = yaml.safe_load((run / "config.yaml").read_text())
    folder = theirs(run, tmp_path / "theirs")
    (tmp_path / "private").write_text("private")
    (folder / name).unlink(missing_ok=True)
    if kind == "link":
        (folder / name).symlink_to(tmp_path / "private")
    else:
        os.mkfifo(folder / name)
    rules = {"class_path": "audiogen.callbacks.mode_collapse.ModeCollapse"}
    scale = ("--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20")
    more = ("--trainer.callbacks+", json.dumps(rules), "--ckpt_path", "last")
    command = arguments(Path(config["data"]["root"]), folder, 0.016, *scale, *more)
    if (name, kind) == (".lock", "pipe"):
        train(command)  # a lock needs no content
    else:
        with pytest.raises((ValueError, OSError), match=r"not read|cannot be written|expected a file"):
            train(command)
    assert (tmp_path / "private").read_text() == "private"
