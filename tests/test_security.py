"""Files of strangers run no code: each attack leaves a file behind where it succeeds, and none does."""

import json
import pickle
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import audiogen
from audiogen.__main__ import main
from audiogen.callbacks.mode_collapse import restore_best
from audiogen.checksums import seal, seal_zip
from audiogen.cli import main as train
from audiogen.data.store import SpectrogramStore, StoreWriter
from audiogen.metrics.embeddings.cache import cached_embedder
from audiogen.metrics.embeddings.classifier import Classifier
from audiogen.metrics.embeddings.inception import Inception
from audiogen.metrics.embeddings.vggish import VGGish
from audiogen.models.vggish_features import VGGishFeatures
from audiogen.transforms.stft import STFT
from audiogen.trust import UntrustedClassError
from tests.evil import DIGITS, EVIL_CLASS, Evil, content_of
from tests.tiny_run import arguments, write_classes
from tests.tiny_transfer import melody, write


@pytest.fixture
def evil(tmp_path: Path, marker: Path) -> Path:
    """Return a checkpoint that would load, but for a pickle in it that runs a command."""
    with (tmp_path / "evil.ckpt").open("w+b") as file:
        torch.save({**content_of(DIGITS), "more": Evil(marker)}, file)
        seal_zip(file)  # anybody can
    return tmp_path / "evil.ckpt"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run directory, and beside it its data."""
    folder = tmp_path_factory.mktemp("run")
    data = write_classes(folder / "data", {"low": 300, "high": 2000})
    train(arguments(data, folder / "run", 0.008))
    return folder / "run"


def test_the_evil_files_would_run_code_where_they_were_read_carelessly(evil: Path, marker: Path) -> None:
    torch.load(evil, weights_only=False)
    assert marker.exists()
    marker.unlink()
    __import__("evil_module")
    assert marker.exists()
    marker.unlink()


def command_lines(evil: Path, run: Path) -> dict[str, list[Any]]:
    """Return a command line for each way in which a command is handed weights."""
    data, sound = run.parent / "data", evil.with_name("sound.wav")
    tiny = arguments(data, evil.parent / "new run")[1:]
    write(sound, melody())
    return {
        "fit": ["fit", *tiny, "--ckpt_path", evil],
        "validate": ["validate", *tiny, "--ckpt_path", evil],
        "test": ["test", *tiny, "--ckpt_path", evil],
        "evaluate": ["evaluate", evil, "--against", data],
        "evaluate --evaluator": ["evaluate", data, "--against", data, "--evaluator", evil],
        "evaluate --embeddings": [
            *("evaluate", data, "--against", data, "--embeddings"),
            json.dumps(
                [{"class_path": "audiogen.metrics.embeddings.vggish.VGGish", "init_args": {"weights": str(evil)}}]
            ),
        ],
        "export": ["export", evil, evil.with_suffix(".safetensors")],
        "generate": ["generate", evil, "--out", evil.parent / "out"],
        "convert": ["convert", evil, sound, "--out", evil.parent / "out.wav"],
        "stylize": ["stylize", sound, sound, "--network", evil, "--out", evil.parent / "out.wav"],
        "texture": ["texture", sound, "--network", evil, "--out", evil.parent / "out.wav"],
    }


NAMES = (
    *("fit", "validate", "test", "evaluate", "evaluate --evaluator", "evaluate --embeddings", "export", "generate"),
    *("convert", "stylize", "texture"),
)


def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    """Run the command line, which must fail with a message; return it."""
    monkeypatch.setattr(sys, "argv", ["audiogen", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (1, 2)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_no_verb_runs_a_pickle(
    name: str, form: str, evil: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "pickle":
        evil.write_bytes(pickle.dumps(Evil(evil.with_name("attacked"))))
    command = command_lines(evil, run)[name]
    message = fail(monkeypatch, capsys, *command)
    assert re.search(rf"{evil} is not a (readable checkpoint|weights file) \(\w*Error", message)


@pytest.mark.parametrize("name", ["fit", "evaluate", "generate", "export"])
def test_no_verb_runs_a_pickle_in_a_run_directory(
    name: str, evil: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evil.parent / "their run"
    (folder / "checkpoints").mkdir(parents=True)
    evil.rename(folder / "checkpoints" / "kimg-00000.008.ckpt")
    command = [folder if part == evil else part for part in command_lines(evil, run)[name]]
    assert "is not a readable checkpoint" in fail(monkeypatch, capsys, *command)


def test_report_does_not_read_checkpoints(
    evil: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "their run"
    (folder / "checkpoints").mkdir(parents=True)
    evil.rename(folder / "checkpoints" / "kimg-00000.008.ckpt")
    (folder / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
    (folder / "config.yaml").write_text("model: !!python/object/apply:os.system ['touch attacked']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["audiogen", "report", str(folder)])
    main()
    assert "does not name it" in (folder / "report.html").read_text()


TRANSFORM = STFT(sample_rate=8000, n_fft=256, hop_length=64, num_frames=125)


@pytest.mark.parametrize(
    "embedding",
    [Classifier, lambda path: VGGish(weights=path), lambda path: VGGishFeatures(TRANSFORM, path), Inception],
    ids=["classifier", "vggish", "vggish features", "inception"],
)
def test_embeddings_do_not_run_a_pickle(embedding: Callable[[str], Any], evil: Path) -> None:
    if embedding is Inception:
        pytest.importorskip("torch_fidelity", reason="needs the extra 'fid'")
    with pytest.raises(ValueError, match=r"is not a (readable checkpoint|weights file) \(UnpicklingError"):
        embedding(str(evil))


def test_memory_of_embeddings_does_not_run_a_pickle(marker: Path, tmp_path: Path) -> None:
    embedding = Classifier(str(DIGITS))
    batches = [(torch.zeros(2, *embedding.transform.shape), torch.zeros(2, dtype=torch.int64))]  # type: ignore[union-attr]
    look_up = cached_embedder(tmp_path / "memory")
    found = look_up(embedding, batches, embedding.transform)  # type: ignore[arg-type]
    (file,) = (tmp_path / "memory").iterdir()
    torch.save((Evil(marker), *found[1:]), file)
    file.write_bytes(seal(file.read_bytes()))
    again = look_up(embedding, batches, embedding.transform)  # type: ignore[arg-type]
    torch.testing.assert_close(again.rows, found.rows)


def test_best_checkpoint_does_not_run_a_pickle(evil: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    evil.rename(tmp_path / "checkpoints" / "best.ckpt")
    told = restore_best(SimpleNamespace(default_root_dir=tmp_path), SimpleNamespace(averaged=("generator",)))  # type: ignore[arg-type]
    assert "of the last step is kept" in told
    assert "holds code, which is not run" in told


def test_store_does_not_run_a_pickle(marker: Path, tmp_path: Path) -> None:
    StoreWriter(tmp_path / "store", (1, 4), []).close()
    index = tmp_path / "store" / "index.npz"
    np.savez(index, shape=np.array([Evil(marker)], dtype=object))
    index.write_bytes(seal(index.read_bytes()))
    with pytest.raises(ValueError, match="does not contain a complete set of spectrograms"):
        SpectrogramStore(tmp_path / "store")


@pytest.mark.parametrize("name", NAMES[3:])
def test_every_verb_that_builds_a_model_tells_of_a_class_it_does_not_trust(
    name: str, evil: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = EVIL_CLASS
    torch.save(content, evil)
    message = fail(monkeypatch, capsys, *command_lines(evil, run)[name])
    if name == "evaluate --embeddings":
        assert f"{evil} is not a weights file" in message
    else:
        assert f"{evil} names evil_module.Evil" in message
        assert "set AUDIOGEN_TRUST=evil_module" in message


def their_run(run: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a run with another config beside its checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (file,) = (run / "checkpoints").glob("kimg-*.ckpt")
    (folder / "checkpoints" / file.name).write_bytes(file.read_bytes())
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize("part", ["model", "trainer", "preprocess", "dataset"])
def test_no_function_is_called_by_a_config_beside_a_checkpoint(
    part: str, run: Path, download: dict[str, Any], tmp_path: Path
) -> None:
    def change(config: dict[str, Any]) -> None:
        if part in ("model", "trainer"):
            config[part] = download
        else:
            config["data"][part] = [download] if part == "preprocess" else download

    with pytest.raises((ValueError, ArgumentError)):
        audiogen.evaluate(str(their_run(run, tmp_path / "theirs", change)), evaluator=str(DIGITS))
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("part", ["data", "callbacks"])
def test_config_beside_a_checkpoint_is_not_believed(
    part: str, run: Path, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(config: dict[str, Any]) -> None:
        if part == "data":
            config["data"]["dataset"] = EVIL_CLASS
        else:
            evaluation = {"class_path": "audiogen.callbacks.evaluation.Evaluation"}
            config["trainer"]["callbacks"] = [evaluation | {"init_args": {"embeddings": [EVIL_CLASS]}}]

    theirs = their_run(run, tmp_path / "theirs", change)
    classifier = None if part == "callbacks" else str(DIGITS)
    with pytest.raises(
        UntrustedClassError, match=r"theirs/config\.yaml names evil_module\.Evil, which is not part of audiogen"
    ):
        audiogen.evaluate(str(theirs), evaluator=classifier)


def test_file_in_the_current_folder_does_not_take_the_place_of_a_config(
    marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load(Path("configs/style_transfer.yaml").read_text())
    config["model"]["init_args"]["extractor"] = EVIL_CLASS
    (tmp_path / "fast").write_text(yaml.safe_dump(config))
    write(tmp_path / "sound.wav", melody(5.0))
    monkeypatch.chdir(tmp_path)
    made = audiogen.stylize("sound.wav", "sound.wav", iterations=1)
    assert made.wav.isfinite().all()
    assert not marker.exists()
