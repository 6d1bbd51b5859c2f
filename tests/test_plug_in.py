"""A generator and a discriminator from outside the package, as docs/add_a_model.md shows them."""

import re
import sys
from pathlib import Path

import pytest
import yaml

import audiogen
from audiogen.checkpoint_io import CheckpointError
from audiogen.cli import main
from tests.tiny_run import arguments, write_classes


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the document's Python and YAML into files of a folder outside the package that is on the path."""
    text = Path("docs/add_a_model.md").read_text()
    (tmp_path / "my_networks.py").write_text(re.findall(r"```python\n(.*?)```", text, re.S)[0])
    (tmp_path / "my_networks.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.S)[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_networks", None)


def test_documented_networks_train_and_generate(documented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_classes(documented / "data", {"low": 300, "high": 2000})
    tiny = arguments(data, documented / "run", 0.016)
    flags = dict(zip(tiny[1::2], tiny[2::2], strict=True))
    kept = [x for name, value in flags.items() if name.startswith(("--data.", "--trainer.")) for x in (name, value)]
    config = ["--config", "configs/stylegan2_folder.yaml", "--config", str(documented / "my_networks.yaml")]
    main(["fit", *config, *kept, "--model.total_kimg", "0.016", "--trainer.accelerator", "cpu"])
    with pytest.raises(CheckpointError, match=r"names my_networks\.SmallGenerator.* set AUDIOGEN_TRUST=my_networks "):
        audiogen.load(documented / "run")
    trust = re.findall(r"AUDIOGEN_TRUST=(\S+) python", Path("docs/add_a_model.md").read_text())[0]
    monkeypatch.setenv("AUDIOGEN_TRUST", trust)
    model = audiogen.load(documented / "run")
    assert type(model.generator).__module__ == "my_networks"
    assert type(model.discriminator).__module__ == "my_networks"
    assert audiogen.generate(model, "low", num=2).wav.shape == (2, 1, 32 * 128)
    saved = yaml.safe_load((documented / "run" / "config.yaml").read_text())
    assert saved["model"]["init_args"]["generator"]["class_path"] == "my_networks.SmallGenerator"
