"""The examples of docs/add_a_metric.md, copied, in a tiny run."""

import csv
import math
import re
from pathlib import Path

import pytest
import yaml

from audiogen.cli import main
from tests.tiny_run import arguments, write_classes

PAGE = Path("docs/add_a_metric.md").read_text()


def test_metric_and_embedding_of_the_page_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metrics.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S)))
    monkeypatch.syspath_prepend(str(tmp_path))
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    content = yaml.safe_load(config)
    content["trainer"]["callbacks+"][0]["init_args"] |= {"every_kimg": 0.008, "num_clips": 12}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(content))
    data = write_classes(tmp_path / "data", {"low": 300.0, "high": 2000.0}, num=30)
    args = arguments(data, tmp_path / "run", 0.008)
    at = args.index("--trainer.callbacks")
    main([*args[:at], *args[at + 2 :], "--config", str(tmp_path / "more.yaml")])
    with (tmp_path / "run" / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    for name in ("novelty_loudness", "novelty_loudness_real", "novelty_loudness/low", "fad_loudness", "fad"):
        assert math.isfinite(float(row[name])), name


def test_every_class_path_of_the_page_exists() -> None:
    for module, name in re.findall(r"`(\w+)\.(\w+)`(?=[ ,|])", PAGE.split("Metrics, for each")[0]):
        path = Path("audiogen/metrics/embeddings") / f"{module}.py"
        assert path.exists(), module
        assert f"class {name}(" in path.read_text(), name
