"""Files of strangers run no code: each attack leaves a file behind where it succeeds, and none does."""

import ast
import copy
import hashlib
import json
import os
import pickle
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

import audiogen
from audiogen.__main__ import main
from audiogen.callbacks.mode_collapse import restore_best
from audiogen.checkpoint import CheckpointError, load
from audiogen.cli import main as train
from audiogen.data.store import SpectrogramStore, StoreWriter
from audiogen.metrics.embeddings.classifier import Classifier
from audiogen.metrics.embeddings.inception import Inception
from audiogen.metrics.embeddings.memory import remembered
from audiogen.metrics.embeddings.vggish import VGGish
from audiogen.models.vggish_features import VGGishFeatures
from audiogen.transforms.stft import STFT
from audiogen.trust import UntrustedClassError
from tests.tiny_run import arguments, write_classes
from tests.tiny_transfer import melody, write

DIGITS = Path("checkpoints/digits.safetensors").resolve()
ROOT = Path.cwd()


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file that an attack makes; a module that makes it too lies in the current folder, as does a config."""
    file = tmp_path / "attacked"
    (tmp_path / "evil_module.py").write_text(
        f"import torch\nopen({str(file)!r}, 'w').close()\nclass Evil(torch.nn.Module):\n    pass\n"
    )
    (tmp_path / "evil.json").write_text(json.dumps({"class_path": "evil_module.Evil"}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("AUDIOGEN_TRUST", raising=False)
    yield file
    sys.modules.pop("evil_module", None)
    assert not file.exists(), "code was run"


def content_of(path: Path) -> dict[str, Any]:
    """Return what a checkpoint or an exported file holds."""
    if path.suffix != ".safetensors":
        return torch.load(path, weights_only=True)
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {**json.loads(file.metadata()["audiogen"]), "state_dict": state}


@pytest.fixture
def evil(tmp_path: Path, marker: Path) -> Path:
    """Return a checkpoint that would load, but for a pickle in it that runs a command."""
    torch.save({**content_of(DIGITS), "more": Evil(marker)}, tmp_path / "evil.ckpt")
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


def verbs(evil: Path, run: Path) -> dict[str, list[Any]]:
    """Return a command line for each way in which a verb is handed weights."""
    data, sound = run.parent / "data", evil.with_name("sound.wav")
    tiny = arguments(data, evil.parent / "new run")[1:]
    write(sound, melody())
    return {
        "fit": ["fit", *tiny, "--ckpt_path", evil],
        "validate": ["validate", *tiny, "--ckpt_path", evil],
        "test": ["test", *tiny, "--ckpt_path", evil],
        "evaluate": ["evaluate", evil, "--against", data],
        "evaluate --judge": ["evaluate", data, "--against", data, "--judge", evil],
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


VERBS = (
    *("fit", "validate", "test", "evaluate", "evaluate --judge", "evaluate --embeddings", "export", "generate"),
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


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_no_verb_runs_a_pickle(
    verb: str, form: str, evil: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "pickle":
        evil.write_bytes(pickle.dumps(Evil(evil.with_name("attacked"))))
    command = verbs(evil, run)[verb]
    message = fail(monkeypatch, capsys, *command)
    assert re.search(rf"{evil} is not a (readable checkpoint|file of weights) \(\w*Error", message)


@pytest.mark.parametrize("verb", ["fit", "evaluate", "generate", "export"])
def test_no_verb_runs_a_pickle_in_a_run_directory(
    verb: str, evil: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evil.parent / "their run"
    (folder / "checkpoints").mkdir(parents=True)
    evil.rename(folder / "checkpoints" / "kimg-00000.008.ckpt")
    command = [folder if part == evil else part for part in verbs(evil, run)[verb]]
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
    assert "does not tell" in (folder / "report.html").read_text()


TRANSFORM = STFT(sample_rate=8000, n_fft=256, hop_length=64, num_frames=125)


@pytest.mark.parametrize(
    "embedding",
    [Classifier, lambda path: VGGish(weights=path), lambda path: VGGishFeatures(TRANSFORM, path), Inception],
    ids=["classifier", "vggish", "vggish features", "inception"],
)
def test_embeddings_do_not_run_a_pickle(embedding: Callable[[str], Any], evil: Path) -> None:
    if embedding is Inception:
        pytest.importorskip("torch_fidelity", reason="needs the extra 'fid'")
    with pytest.raises(ValueError, match=r"is not a (readable checkpoint|file of weights) \(UnpicklingError"):
        embedding(str(evil))


def test_memory_of_embeddings_does_not_run_a_pickle(marker: Path, tmp_path: Path) -> None:
    embedding = Classifier(str(DIGITS))
    batches = [(torch.zeros(2, *embedding.transform.shape), torch.zeros(2, dtype=torch.int64))]  # type: ignore[union-attr]
    look_up = remembered(tmp_path / "memory")
    found = look_up(embedding, batches, embedding.transform)  # type: ignore[arg-type]
    (file,) = (tmp_path / "memory").iterdir()
    torch.save((Evil(marker), *found[1:]), file)
    again = look_up(embedding, batches, embedding.transform)  # type: ignore[arg-type]
    torch.testing.assert_close(again.rows, found.rows)


def test_best_checkpoint_does_not_run_a_pickle(evil: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    evil.rename(tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        restore_best(SimpleNamespace(default_root_dir=tmp_path), SimpleNamespace(averaged=("generator",)))  # type: ignore[arg-type]


def test_store_does_not_run_a_pickle(marker: Path, tmp_path: Path) -> None:
    StoreWriter(tmp_path / "store", (1, 4), []).close()
    np.savez(tmp_path / "store" / "index.npz", shape=np.array([Evil(marker)], dtype=object))
    with pytest.raises(ValueError, match="holds no whole set of spectrograms"):
        SpectrogramStore(tmp_path / "store")


EVIL_CLASS = {"class_path": "evil_module.Evil"}
CNN = "audiogen.networks.classifier.SpectrogramCNN"


def command(marker: Path) -> list[str]:
    return ["touch", str(marker)]


# What is changed in the hyperparameters of a classifier, which lies beside `evil_module.py` and `evil.json`.
ATTACKS: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "model": lambda h, m: h.update(_class_path="evil_module.Evil"),
    "network": lambda h, m: h.update(network=EVIL_CLASS),
    "network as text": lambda h, m: h.update(network="evil_module.Evil"),
    "network as YAML": lambda h, m: h.update(network="{class_path: evil_module.Evil}"),
    "network as JSON": lambda h, m: h.update(network='{"class\\u005fpath": "evil_module.Evil"}'),
    "network in a file": lambda h, m: h.update(network=str(m.with_name("evil.json"))),
    "network in a file of here": lambda h, m: h.update(network="evil.json"),
    "network at an address": lambda h, m: h.update(network=f"file://{m.with_name('evil.json')}"),
    "key with dots": lambda h, m: h.update({"network.class_path": "evil_module.Evil"}),
    "argument of an argument": lambda h, m: h["transform"]["init_args"].update(phase=EVIL_CLASS),
    "deep text": lambda h, m: h["transform"]["init_args"].update(phase="evil_module.Evil"),
    "further arguments": lambda h, m: h.update(network={"class_path": CNN, "dict_kwargs": {"x": EVIL_CLASS}}),
    "further argument": lambda h, m: h.update(more=EVIL_CLASS),
    "entry of a list": lambda h, m: h["network"]["init_args"].update(widths=[EVIL_CLASS]),
    "class name": lambda h, m: h.update(label_names=[EVIL_CLASS]),
    "path of a config": lambda h, m: h.update(network={"class_path": CNN, "__path__": "evil.json", "init_args": "x"}),
    "subprocess": lambda h, m: h.update(network={"class_path": "subprocess.Popen", "init_args": {"args": command(m)}}),
    "model of subprocess": lambda h, m: (h.clear(), h.update(_class_path="subprocess.run", args=command(m))),
    "os": lambda h, m: h.update(network={"class_path": "os.system", "init_args": {"command": f"touch {m}"}}),
    "exec": lambda h, m: h.update(network={"class_path": "builtins.exec", "init_args": {"source": f"open('{m}','w')"}}),
    "partial": lambda h, m: h.update(
        network={"class_path": "functools.partial", "init_args": {"func": "os.system", "args": [f"touch {m}"]}}
    ),
    "torch.hub": lambda h, m: h.update(
        network={"class_path": "torch.hub.load", "init_args": {"repo_or_dir": str(m.parent), "source": "local"}}
    ),
    "torch.load": lambda h, m: h.update(
        network={"class_path": "torch.load", "init_args": {"f": "evil.ckpt", "weights_only": False}}
    ),
    "what our modules import": lambda h, m: h.update(network="audiogen.networks.weights.torch.load"),
    "os of ours": lambda h, m: h.update(
        network={"class_path": "audiogen.models.kimg.os.system", "init_args": {"command": f"touch {m}"}}
    ),
    "layers of torch": lambda h, m: h.update(network={"class_path": "torch.nn.Identity"}),
    "layers by our name": lambda h, m: h.update(network={"class_path": "audiogen.networks.classifier.nn.Identity"}),
    "downloading class of ours": lambda h, m: h.update(
        network={"class_path": "audiogen.metrics.embeddings.pretrained.Pretrained", "init_args": {"model": "a/b"}}
    ),
    "jsonargparse": lambda h, m: h.update(network="jsonargparse.set_parsing_settings"),
    "class that leads out": lambda h, m: h.update(label_names=["../../outside", "b"]),
    "class with a root": lambda h, m: h.update(label_names=["/outside", "b"]),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_no_checkpoint_has_its_classes_imported(
    name: str, suffix: str, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = copy.deepcopy(content_of(DIGITS))
    ATTACKS[name](content["hyper_parameters"], marker)
    file = Path(f"theirs.{suffix}")
    if suffix == "ckpt":
        torch.save(content, file)
    else:
        state = content.pop("state_dict")
        save_file(state, file, {"audiogen": json.dumps(content)})
    before = set(sys.modules)
    with pytest.raises(
        CheckpointError, match=rf"{file} (names|does not fit its model|has a class|is not a checkpoint)"
    ):
        load(file)
    assert {each.partition(".")[0] for each in set(sys.modules) - before}.isdisjoint({"evil_module", "transformers"})
    with pytest.raises(CheckpointError):
        audiogen.checkpoint.export(file, "passed on.safetensors")
    assert not Path("passed on.safetensors").exists()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("hyper_parameters", ["_class_path"]),
        ("hyper_parameters", "_class_path"),
        ("hyper_parameters", {"_class_path": None}),
        ("hyper_parameters", {"_class_path": {"class_path": "evil_module.Evil"}}),
        ("hyper_parameters", {"_class_path": "audiogen.models.classifier.Classifier", "label_names": 5}),
        ("hyper_parameters", {"_class_path": "audiogen.checkpoint.load", "path": "theirs.ckpt"}),
        ("state_dict", {"network": torch.ones(2)}),
        ("state_dict", 3),
    ],
)
def test_checkpoint_of_nonsense_is_refused(
    part: str, value: Any, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**content_of(DIGITS), part: value}, "theirs.ckpt")
    with pytest.raises(CheckpointError, match=r"^theirs\.ckpt (names|does not fit its model|is damaged)"):
        load("theirs.ckpt")


def test_message_names_file_class_and_what_to_do(marker: Path, tmp_path: Path) -> None:
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = EVIL_CLASS
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "theirs.ckpt")
    assert str(error.value).startswith(f"{tmp_path / 'theirs.ckpt'} names evil_module.Evil, which is not of audiogen")
    assert "set AUDIOGEN_TRUST=evil_module (docs/security.md)" in str(error.value)
    content["hyper_parameters"]["network"] = "os.system"
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(CheckpointError, match=r"names os\.system, of which no model is made: do not use this file$"):
        load(tmp_path / "theirs.ckpt")


def test_what_the_user_trusts_is_imported_and_only_for_as_long(
    marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = EVIL_CLASS
    torch.save(content, tmp_path / "theirs.ckpt")
    monkeypatch.setenv("AUDIOGEN_TRUST", "my_networks, evil_module")
    with pytest.raises(CheckpointError, match="does not fit its model"):
        load(tmp_path / "theirs.ckpt")
    assert marker.exists()
    marker.unlink()
    monkeypatch.delenv("AUDIOGEN_TRUST")
    with pytest.raises(CheckpointError, match=r"names evil_module\.Evil"):
        load(tmp_path / "theirs.ckpt")
    content["hyper_parameters"]["network"] = "evil_module.torch.load"
    torch.save(content, tmp_path / "theirs.ckpt")
    monkeypatch.setenv("AUDIOGEN_TRUST", "evil_module")
    with pytest.raises(CheckpointError, match=r"names (evil_module\.)?torch\."):
        load(tmp_path / "theirs.ckpt")


@pytest.mark.parametrize("verb", VERBS[3:])
def test_every_verb_that_builds_a_model_tells_of_a_class_it_does_not_trust(
    verb: str, evil: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = EVIL_CLASS
    torch.save(content, evil)
    message = fail(monkeypatch, capsys, *verbs(evil, run)[verb])
    if verb == "evaluate --embeddings":
        assert f"{evil} is not a file of weights" in message
    else:
        assert f"{evil} names evil_module.Evil" in message
        assert "set AUDIOGEN_TRUST=evil_module" in message


@pytest.mark.parametrize("names", ["os", "my networks", "a;b", "jsonargparse", "subprocess.run", "*"])
def test_what_holds_no_models_cannot_be_trusted(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOGEN_TRUST", names)
    with pytest.raises(CheckpointError, match=r"AUDIOGEN_TRUST=.*: expected packages with models"):
        load(DIGITS)


@pytest.fixture
def download(tmp_path: Path, marker: Path) -> dict[str, Any]:
    """Return what calls a function of this package that would write a file of the attacker's wherever he likes."""
    (tmp_path / "payload").write_text("anything")
    digest = hashlib.sha256(b"anything").hexdigest()
    arguments = {"url": (tmp_path / "payload").as_uri(), "path": str(tmp_path / "away" / f"attacked-{digest[:8]}.pth")}
    return {"class_path": "audiogen.networks.weights._download", "init_args": arguments}


@pytest.mark.parametrize("place", ["init_args", "dict_kwargs"])
def test_no_function_is_called_by_a_checkpoint(place: str, download: dict[str, Any], tmp_path: Path) -> None:
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = {"class_path": download["class_path"], place: download["init_args"]}
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(CheckpointError, match=r"names audiogen\.networks\.weights\._download, which is no class"):
        load(tmp_path / "theirs.ckpt")
    assert not (tmp_path / "away").exists()


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
        audiogen.evaluate(str(their_run(run, tmp_path / "theirs", change)), judge=str(DIGITS))
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
    judge = None if part == "callbacks" else str(DIGITS)
    with pytest.raises(
        UntrustedClassError, match=r"theirs/config\.yaml names evil_module\.Evil, which is not of audiogen"
    ):
        audiogen.evaluate(str(theirs), judge=judge)


def test_file_in_the_current_folder_does_not_take_the_place_of_a_recipe(
    marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = yaml.safe_load(Path("configs/style_transfer_fast.yaml").read_text())
    recipe["model"]["init_args"]["extractor"] = EVIL_CLASS
    (tmp_path / "fast").write_text(yaml.safe_dump(recipe))
    write(tmp_path / "sound.wav", melody(5.0))
    monkeypatch.chdir(tmp_path)
    audiogen.stylize("sound.wav", "sound.wav", iterations=1)


# Calls that run what a text or a file says.
FORBIDDEN = re.compile(
    r"(eval|exec|compile|__import__|os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*)|input"
    r"|torch\.(hub\.load\w*|jit\.load|package\.\w+|serialization\.\w+)|joblib\.load"
    r"|yaml\.(load|load_all|full_load|unsafe_load|unsafe_load_all)|(\w+\.)*(extractall|unpack_archive)"
    r"|(\w+\.)*(load_from_checkpoint|add_safe_globals))"
)
REQUIRED = {"torch.load": ("weights_only", True), "archive.extract": ("filter", "data")}
SOURCES = sorted(path for folder in ("audiogen", "slurm", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def offences(tree: ast.AST) -> Iterator[str]:
    """Yield what a file does that could run the code of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, given = dotted(node.func), {each.arg: each.value for each in node.keywords}
            if FORBIDDEN.fullmatch(name):
                yield name
            if "shell" in given or "allow_pickle" in given:
                yield f"{name}(shell or allow_pickle)"
            if name in REQUIRED:
                key, value = REQUIRED[name]
                found = given.get(key)
                if not (isinstance(found, ast.Constant) and found.value == value):
                    yield f"{name} without {key}={value}"
        pairs: list[tuple[Any, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = [
                (key.value, value)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            ]
        elif isinstance(node, ast.Call) and not dotted(node.func).endswith(".save_checkpoint"):
            pairs = [(each.arg, each.value) for each in node.keywords]
        for key, value in pairs:
            if key == "trust_remote_code" and not (isinstance(value, ast.Constant) and value.value is False):
                yield "trust_remote_code"
            if key == "weights_only" and not (isinstance(value, ast.Constant) and value.value is True):
                yield "weights_only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_what_a_file_says(path: Path) -> None:
    assert list(offences(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "os.system('x')",
        "subprocess.run('x', shell=True)",
        "eval('x')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=wanted)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "archive.extractall(folder)",
        "archive.extract(member, folder)",
        "load(a, trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
        "torch.hub.load('a', 'b')",
    ],
)
def test_the_rule_sees(text: str) -> None:
    assert list(offences(ast.parse(text)))


def test_archives_are_opened_in_one_place_and_shell_scripts_evaluate_nothing() -> None:
    users = [path.name for path in SOURCES if re.search(r"\.extract\(", path.read_text())]
    assert users == ["archive.py"]
    for path in (ROOT / "slurm").iterdir():
        assert not re.search(r"^\s*eval\b|\bsh -c\b", path.read_text(), re.M), path
