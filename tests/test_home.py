"""`~` is the home directory in every path of a flag and of a config, however it is written."""

import json
import sys
from pathlib import Path

import pytest
import yaml

import audiogen
from audiogen.__main__ import main
from audiogen.commands.style_config import build_style_transfer
from audiogen.data.datasets.folder import find_sounds
from audiogen.home import expand_argument, expand_home
from tests.tiny_run import arguments, write_classes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home directory, which is not the current folder."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    for name in ("configs", "checkpoints"):
        (tmp_path / "here" / name).symlink_to(Path(name).resolve())
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("arg", "expected"),
    [
        ("~/x", "{}/x"),
        ("--out=~/x", "{}/x"),
        ("--out=~", "{}"),
        ("~", "{}"),
        ("--weights=0.7,0.3", "--weights=0.7,0.3"),
        ("a~b", "a~b"),
        ("~~/x", "~~/x"),
        ("--name=~nobody_here/x", "--name=~nobody_here/x"),
    ],
)
def test_what_is_a_path_below_home(arg: str, expected: str, home: Path) -> None:
    found = expand_argument(arg)
    assert found == (f"--out={expected}" if arg.startswith("--out") else expected).format(home)


def test_paths_are_expanded_at_any_depth(home: Path) -> None:
    value = {"a": ["~/x", {"b": "~/y"}], "c": 3, "d": None}
    assert expand_home(value) == {"a": [f"{home}/x", {"b": f"{home}/y"}], "c": 3, "d": None}


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["audiogen", *map(str, args)])
    main()


def test_every_path_of_a_training_may_begin_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a config, as --name=PATH, as --name PATH, and within a value of YAML."""
    write_classes(home / "data", {"low": 300, "high": 2000})
    tiny = arguments(Path("~/data"), Path("~/run"), 0.008)
    config = {"data": {"root": "~/data", "cache": "~/cache"}, "trainer": {"default_root_dir": "~/run"}}
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    named = ("--data.root", "--trainer.default_root_dir")
    pairs = [(name, value) for name, value in zip(tiny[1::2], tiny[2::2], strict=True) if name not in named]
    flags = [part for pair in pairs for part in pair]
    run(monkeypatch, "fit", *flags, "--config=~/config.yaml")
    (home / "manifest.csv").write_text("path\n" + "".join(f"{path}\n" for path in find_sounds(home / "data")))
    manifest = {"class_path": "audiogen.data.datasets.manifest.Manifest", "init_args": {"file": "~/manifest.csv"}}
    nested = ("--data.root", "~", "--data.dataset", json.dumps(manifest))
    run(monkeypatch, *tiny, "--trainer.default_root_dir=~/second", "--data.cache=~/cache", *nested)
    for name in ("run", "second"):
        assert list((home / name / "checkpoints").iterdir())
    assert (home / "cache" / "spectrograms").is_dir()
    run(monkeypatch, "generate", "~/run", "--out=~/made", "--num", 1)
    assert len(find_sounds(home / "made")) == 2
    run(monkeypatch, "report", "~/run", "--out=~/page.html")
    run(monkeypatch, "export", "~/run", "~/model.safetensors")
    assert audiogen.load(home / "model.safetensors")
    assert not list(Path().glob("~*"))


def test_config_of_style_transfer_is_expanded_too(home: Path) -> None:
    config = yaml.safe_load(Path("configs/style_transfer.yaml").read_text())
    config["model"]["init_args"]["weights"] = "~/nothing.ckpt"
    config["model"]["init_args"]["extractor"] = None
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=rf"{home}/nothing\.ckpt"):
        build_style_transfer(str(home / "config.yaml"), {})
