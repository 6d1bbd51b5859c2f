"""The wheel alone is enough: commands find configs and weights from any folder."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from audiogen.resources import config_names, config_path, weights_path, with_config_paths

SETTINGS = tomllib.loads(Path("pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run(command, check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_every_package_is_listed() -> None:
    found = {".".join(path.parent.parts) for path in Path("audiogen").rglob("__init__.py")}
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == found | {"audiogen.configs", "audiogen.checkpoints"}


def test_wheel_contains_all_modules_configs_and_weights(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.as_posix() for path in Path("audiogen").rglob("*.py")}
    for folder, suffixes in (("configs", ("yaml",)), ("checkpoints", ("safetensors", "json"))):
        expected |= {f"audiogen/{path}" for suffix in suffixes for path in Path(folder).rglob(f"*.{suffix}")}
    assert expected <= names


def test_installed_wheel_trains_the_quickstart_by_name_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    (installed,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    # The libraries come from this environment; its .pth files, such as that of an editable install, are not read.
    (installed / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "elsewhere").mkdir()
    command = [tmp_path / "env" / "bin" / "audiogen", "fit", "quickstart", "--trainer.fast_dev_run", "1"]
    command += ["--data.dataset.num_clips", "500", "--data.cache", str(tmp_path / "cache")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["AUDIOGEN_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 batches were trained" in done.stdout + done.stderr


def test_names_of_configs_and_weights_become_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"quickstart", "papers/huzaifah_wyse_texture", "trainer/cpu"} <= set(config_names())
    assert config_path("quickstart").is_file()
    assert weights_path("digits").is_file()
    assert weights_path("digits.safetensors") == Path("digits.safetensors")
    args = with_config_paths(["fit", "quickstart", "trainer/cpu"])
    assert args[1::2] == ["--config", "--config"]
    assert [Path(path).stem for path in args[2::2]] == ["quickstart", "cpu"]


@pytest.mark.parametrize("name", ["nothing", "nothing.yaml", "../quickstart"])
def test_config_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no config"):
        config_path(name)
