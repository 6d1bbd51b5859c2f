"""The phase method of docs/add_a_phase_method.md, in a config and by itself."""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

import audiogen
from audiogen.checkpoint_io import CheckpointError
from audiogen.cli import main
from audiogen.transforms.cqt import CQT
from audiogen.transforms.transform import SpectrogramTransform
from tests.tiny_run import arguments, write_classes

PAGE = Path("docs/add_a_phase_method.md").read_text()


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the page's Python and YAML into a folder outside the package that is on the path."""
    (tmp_path / "my_phase.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0])
    (tmp_path / "my_phase.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_phase", None)


def construct(class_path: str, settings: dict[str, Any]) -> SpectrogramTransform:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--transform", type=SpectrogramTransform)
    described = {"class_path": class_path, "init_args": settings | {"phase": {"class_path": "my_phase.Steady"}}}
    return parser.instantiate(parser.parse_object({"transform": described})).transform


def test_documented_calls_invert_a_tone_with_and_without_a_prefix(documented: Path) -> None:
    scope: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[1], scope)
    transform, tone, wav, continued = (scope[name] for name in ("transform", "tone", "wav", "continued"))
    assert wav.shape == continued.shape == tone.shape == (1, 1, 4096)
    middle = slice(8, -8)  # frames away from the ends; the tone is in the centre of a bin
    assert (transform(wav) - transform(tone))[..., middle].abs().mean() < 0.1
    assert torch.equal(continued[..., :200], tone[..., :200])
    assert torch.equal(continued[..., 400:], wav[..., 400:])


def test_result_for_a_clip_does_not_depend_on_its_batch(documented: Path) -> None:
    transform = construct("audiogen.transforms.stft.STFT", {"sample_rate": 8000, "n_fft": 256, "hop_length": 64})
    spec = 2 * torch.rand(3, *transform.shape, generator=torch.Generator().manual_seed(0)) - 1
    torch.testing.assert_close(transform.inverse(spec)[1:2], transform.inverse(spec[1:2]))


def test_transform_without_evenly_spaced_bins_is_refused(documented: Path) -> None:
    with pytest.raises(ValueError, match="Steady needs the evenly spaced bins of an STFT"):
        CQT(8000, 64, 100.0, 48, 12, 32, phase=import_module("my_phase").Steady())


def test_documented_method_is_used_by_training_and_by_the_checkpoint(
    documented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_classes(documented / "data", {"low": 300, "high": 2000})
    main([*arguments(data, documented / "run", 0.008), "--config", str(documented / "my_phase.yaml")])
    saved = yaml.safe_load((documented / "run" / "config.yaml").read_text())
    assert saved["data"]["transform"]["init_args"]["phase"] == {
        "class_path": "my_phase.Steady",
        "init_args": {"speed": 1.0},
    }
    with pytest.raises(CheckpointError, match=r"names my_phase\.Steady"):
        audiogen.load(documented / "run")
    (trust,) = re.findall(r"AUDIOGEN_TRUST=(\S+) python", PAGE)
    monkeypatch.setenv("AUDIOGEN_TRUST", trust)
    model = audiogen.load(documented / "run")
    assert type(model.transform.phase).__name__ == "Steady"
    assert audiogen.generate(model, num=1).wav.isfinite().all()
