"""A checkpoint has no class imported and no function called, but for what is trusted: real attacks."""

import copy
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse._common import parsing_settings
from safetensors.torch import save_file

import audiogen
from audiogen.checkpoint import load
from audiogen.checkpoint_io import CheckpointError
from tests.evil import DIGITS, EVIL_CLASS, content_of

CNN = "audiogen.networks.classifier.SpectrogramCNN"


def command(marker: Path) -> list[str]:
    return ["touch", str(marker)]


def nested(levels: int, width: int) -> list[Any]:
    """Return a list of `width` references to one list, and so on: `width` to the power of `levels` values."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value] * width
    return value


def phase(name: str, num: int) -> dict[str, Any]:
    argument = "num_iterations" if name.startswith("griffin") else "num_steps"
    return {"class_path": f"audiogen.transforms.phase.{name}", "init_args": {argument: num}}


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
    "classes as text": lambda h, m: h.update(label_names='["../../outside", "b"]'),
    "classes as a name": lambda h, m: h.update(label_names="../../outside"),
    "classes as a tuple": lambda h, m: h.update(label_names=("../../outside", "b")),
    "classes as a set": lambda h, m: h.update(label_names={"../../outside", "b"}),
    "classes as a dict": lambda h, m: h.update(label_names={"../../outside": 0, "b": 1}),
    "further classes": lambda h, m: h.update({"label_names+": ["../../outside"]}),
    "further class by dots": lambda h, m: h.update({"label_names.0": "../../outside"}),
    "class twice": lambda h, m: h.update(label_names=["zero"] * 10),
    "class that is a number": lambda h, m: h.update(label_names=[1, "b"]),
    "class within a class": lambda h, m: h.update(label_names=[["../../outside"], "b"]),
    "twelve levels of ten": lambda h, m: h.update(more=nested(12, 10)),
    "hundred levels": lambda h, m: h.update(more=nested(100, 1)),
    "many values": lambda h, m: h.update(more=[0] * 1_000_000),
    "long text": lambda h, m: h.update(more="x" * 1_000_000),
    "large number": lambda h, m: h.update(batch_size=1 << 70),
    "NaN": lambda h, m: h.update(learning_rate=float("nan")),
    "number as text": lambda h, m: h.update(batch_size="64"),
    "network without bounds": lambda h, m: h["network"]["init_args"].update(num_features=1 << 40),
    "layers without bounds": lambda h, m: h["network"]["init_args"].update(widths=[1 << 20] * 3),
    "filters without bounds": lambda h, m: h["transform"]["init_args"].update(n_mels=1 << 40),
    "frames without bounds": lambda h, m: h["transform"]["init_args"].update(num_frames=1 << 50),
    "window without bounds": lambda h, m: h["transform"]["init_args"].update(n_fft=1 << 40),
    "endless Griffin-Lim": lambda h, m: h["transform"]["init_args"].update(
        phase=phase("griffin_lim.GriffinLim", 10**9)
    ),
    "endless inversion": lambda h, m: h["transform"]["init_args"].update(
        phase=phase("gradient.GradientInversion", 10**9)
    ),
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
    elif name in ("classes as a set", "twelve levels of ten", "many values"):
        pytest.skip("JSON has no sets and no references")
    else:
        state = content.pop("state_dict")
        save_file(state, file, {"audiogen": json.dumps(content)})
    before = set(sys.modules)
    with pytest.raises(
        CheckpointError, match=rf"{file} (names|does not fit its model|has a class|is not a checkpoint|is damaged)"
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
    assert str(error.value).startswith(
        f"{tmp_path / 'theirs.ckpt'} names evil_module.Evil, which is not part of audiogen"
    )
    assert "set AUDIOGEN_TRUST=evil_module (docs/security.md)" in str(error.value)
    content["hyper_parameters"]["network"] = "os.system"
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(CheckpointError, match=r"names os\.system, which no model uses: do not use this file$"):
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


@pytest.mark.parametrize("names", ["os", "my networks", "a;b", "jsonargparse", "subprocess.run", "*"])
def test_what_holds_no_models_cannot_be_trusted(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOGEN_TRUST", names)
    with pytest.raises(CheckpointError, match=r"AUDIOGEN_TRUST=.*: expected package names"):
        load(DIGITS)


@pytest.mark.parametrize("place", ["init_args", "dict_kwargs"])
def test_no_function_is_called_by_a_checkpoint(place: str, download: dict[str, Any], tmp_path: Path) -> None:
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = {"class_path": download["class_path"], place: download["init_args"]}
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(CheckpointError, match=r"names audiogen\.networks\.weights\._download, which is not a class"):
        load(tmp_path / "theirs.ckpt")
    assert not (tmp_path / "away").exists()


def test_threads_do_not_lend_each_other_their_trust(marker: Path, tmp_path: Path) -> None:
    """One thread loads checkpoints that name a hostile class, while others load good ones and parse configs."""
    content = content_of(DIGITS)
    content["hyper_parameters"]["network"] = EVIL_CLASS
    torch.save(content, tmp_path / "theirs.ckpt")
    settings = dict(parsing_settings)

    def load_theirs() -> int:
        refused = 0
        for _ in range(30):
            try:
                load(tmp_path / "theirs.ckpt")
            except CheckpointError as error:
                refused += "names evil_module.Evil" in str(error)
        return refused

    with ThreadPoolExecutor(4) as pool:
        theirs = [pool.submit(load_theirs) for _ in range(2)]
        ours = [pool.submit(lambda: [type(load(DIGITS)).__name__ for _ in range(10)]) for _ in range(2)]
        assert [each.result() for each in theirs] == [30, 30]
        assert [each.result() for each in ours] == [["Classifier"] * 10] * 2
    assert parsing_settings == settings  # of the process: nothing of it decides
    assert "evil_module" not in sys.modules
