"""A fingerprint changes with settings, code and files, whatever modules are called, and with nothing else."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from audiogen import fingerprint as module
from audiogen.fingerprint import UNREADABLE, file_digest, fingerprint, settings
from audiogen.transforms.mel import LogMel
from audiogen.transforms.phase.griffin_lim import GriffinLim

MEL: dict[str, Any] = {"sample_rate": 8000, "n_fft": 256, "hop_length": 64, "n_mels": 24, "num_frames": 24}
Import = Callable[[str, str], Any]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that writes a module which can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write  # type: ignore[misc]
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["my_step", "abc_step", "builtins_step", "torch_step", "audiogen_step", "typing_step"])
def test_source_counts_whatever_the_module_is_called(name: str, write_module: Import) -> None:
    write_module(name, "class Step:\n    pass\n")
    step = __import__(name).Step()
    before = fingerprint(step)
    assert fingerprint(step) == before
    write_module(name, "class Step:\n    gain = 2\n")
    assert fingerprint(step) != before


def test_bases_functions_and_what_a_module_imports_count_too(write_module: Import) -> None:
    write_module("plug_base", "class Base:\n    pass\n\ndef gain():\n    return 1\n")
    write_module("plug_table", "TABLE = [1]\n")
    write_module("plug_pack.__init__", "")
    write_module("plug_pack.inner", "from . import deep\n")
    write_module("plug_pack.deep", "X = 1\n")
    write_module("plug_lazy", "Y = 1\n")
    write_module(
        "plug_child",
        "from plug_base import Base, gain\nimport plug_table\nfrom plug_pack import inner\n\nclass Step(Base):\n"
        "    def __init__(self):\n        self.gain = gain\n\n    def __call__(self):\n        import plug_lazy\n",
    )
    import plug_child  # type: ignore[import-not-found]

    found = [fingerprint(plug_child.Step())]
    write_module("plug_base", "class Base:\n    pass\n\ndef gain():\n    return 2\n")
    found.append(fingerprint(plug_child.Step()))
    for name in ("plug_table", "plug_pack.deep", "plug_lazy"):
        write_module(name, "CHANGED = True\n")
        found.append(fingerprint(plug_child.Step()))
    assert len(set(found)) == 5


def test_libraries_count_by_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(nn.Linear(1, 1, bias=False).requires_grad_(False))
    asked: list[str] = []
    monkeypatch.setattr(module, "_version", lambda name: asked.append(name) or "1")
    fingerprint(LogMel(**MEL))
    assert {"torch", "torchaudio", "abc"} <= set(asked)
    assert before == before.lower()


def test_code_without_a_file_counts() -> None:
    """As of a class that was typed into a notebook."""
    found = []
    for gain in (1, 2, 1):
        scope: dict[str, Any] = {"__name__": "typed_into_a_notebook"}
        exec(f"class Step:\n    def __call__(self, wav): return {gain} * wav", scope)
        found.append(fingerprint(scope["Step"]()))
    assert found[0] == found[2] != found[1]


def test_files_that_are_named_count_by_their_content(tmp_path: Path) -> None:
    for name in (str(tmp_path / "response.wav"), tmp_path / "response.wav"):
        file = Path(name)
        file.unlink(missing_ok=True)
        step = {"response": [name]}
        found = [fingerprint(step)]
        for content in (b"1234", b"1243", b"12"):
            file.write_bytes(content)
            found.append(fingerprint(step))
        assert len(set(found)) == 4
        file.touch()
        assert fingerprint(step) == found[-1]
    assert file_digest(tmp_path / "none") == f"{UNREADABLE}: 2"


@dataclass
class Holder:
    value: Any


class Slots:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def values() -> list[Any]:
    return [
        *(None, True, 1.5, "1", 1j, b"1", len, int, np.float32(1), np.float32(2), torch.float32, torch.float64),
        *(
            torch.device("cpu"),
            {1, 2},
            {1: "a"},
            {"1": "a"},
            [1, 2],
            range(3),
            Slots(1),
            Slots(2),
            Holder(1),
            Holder(2),
        ),
        *(partial(pow, 2), partial(pow, 3), torch.ones(2), torch.ones(2, dtype=torch.bfloat16), torch.ones(2, 1)),
        *(np.ones(2), np.array(["a"]), np.array([None]), Holder([Holder(1)]), Holder([Holder(2)])),
        *(LogMel(**MEL), LogMel(**MEL, phase=GriffinLim(5)), nn.Dropout(0.1), nn.Dropout(0.2), "abc".upper),
    ]


def test_any_attribute_counts() -> None:
    found = [fingerprint(Holder(value)) for value in values()]
    assert len(set(found)) == len(found)
    assert found == [fingerprint(Holder(value)) for value in values()]
    assert fingerprint(Holder(threading.Lock())) != fingerprint(Holder(None))  # cannot be saved


def test_object_that_holds_itself_has_a_fingerprint() -> None:
    holder = Holder(1)
    holder.value = [holder]
    assert fingerprint(holder) == fingerprint(holder)


def test_weights_and_buffers_of_all_layers_count_and_the_mode_does_not() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = fingerprint(network)
    assert fingerprint(network.eval()) == before
    network[1].running_mean[0] = 1
    buffers = fingerprint(network)
    network[0].weight.data[0, 0] += 1
    assert len({before, buffers, fingerprint(network)}) == 3


def test_what_decides_nothing_can_be_left_out() -> None:
    first, second = LogMel(**MEL, phase=GriffinLim(5)), LogMel(**MEL, phase=GriffinLim(50))
    assert fingerprint(first, without=first.phase) == fingerprint(second, without=second.phase)
    assert settings(first, without=first.phase) == settings(second, without=second.phase) != settings(first)


def test_fingerprints_do_not_depend_on_the_process() -> None:
    program = (
        "from audiogen.fingerprint import fingerprint\nfrom audiogen.transforms.mel import LogMel\n"
        f"print(fingerprint({{'a', 'b', 'c'}}, LogMel(**{MEL})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint({"a", "b", "c"}, LogMel(**MEL))
