"""A transform from outside the package, as docs/add_a_transform.md shows it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import audiogen
from audiogen.cli import main
from tests.tiny_run import arguments, write_classes


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the document's transform, config and test into files of a folder outside the package that is on the path."""
    text = Path("docs/add_a_transform.md").read_text()
    transform, test = re.findall(r"```python\n(.*?)```", text, re.S)
    (tmp_path / "my_transform.py").write_text(transform)
    (tmp_path / "test_my_transform.py").write_text(test)
    (tmp_path / "my_transform.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.S)[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_transform", None)


def test_documented_transform_trains_and_generates(documented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_classes(documented / "data", {"low": 300, "high": 2000})
    tiny = arguments(data, documented / "run", 0.016)
    config = tiny.index("--data.root")
    flags = [(name, value) for name, value in zip(tiny[config::2], tiny[config + 1 :: 2], strict=True)]
    kept = [part for flag in flags if not flag[0].startswith("--data.transform.") for part in flag]
    main([*tiny[:config], "--config", str(documented / "my_transform.yaml"), *kept])
    (trust,) = re.findall(r"AUDIOGEN_TRUST=(\S+) python", Path("docs/add_a_transform.md").read_text())
    monkeypatch.setenv("AUDIOGEN_TRUST", trust)
    model = audiogen.load(documented / "run")
    assert type(model.transform).__module__ == "my_transform"
    assert (model.transform.phase.num_iterations, model.transform.phase.start) == (16, "spsi")
    made = audiogen.generate(model, "low", num=2)
    assert made.spec.shape == (2, 1, 128, 64)
    assert made.wav.shape == (2, 1, 64 * 64)
    saved = yaml.safe_load((documented / "run" / "config.yaml").read_text())
    assert saved["data"]["transform"]["class_path"] == "my_transform.PowerLawSTFT"
    assert list((documented / "run" / "samples").rglob("*.png"))


def test_documented_test_passes(documented: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{documented}{os.pathsep}{Path.cwd()}"}
    command = [sys.executable, "-m", "pytest", "-q", "test_my_transform.py"]
    done = subprocess.run(command, cwd=documented, env=environment, capture_output=True, text=True, check=False)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
