"""The phase method of docs/add_a_phase_method.md, in a config and by itself."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

import audiogen
from audiogen.cli import main
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from tests.tiny_run import arguments, write_classes

PAGE = Path("docs/add_a_phase_method.md").read_text()
RATE, HOP = 8000, 128


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the page's Python and YAML into a folder outside the package that is on the path."""
    (tmp_path / "my_phase.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0])
    (tmp_path / "my_phase.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_phase", None)


def stft(phase: str) -> SpectrogramTransform:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--transform", type=SpectrogramTransform)
    settings = {"sample_rate": RATE, "n_fft": 512, "hop_length": HOP, "num_frames": 32, "phase": {"class_path": phase}}
    spec = {"class_path": f"{STFT.__module__}.STFT", "init_args": settings}
    return parser.instantiate(parser.parse_object({"transform": spec})).transform


def test_documented_method_restores_a_steady_tone_of_a_bin(documented: Path) -> None:
    transform = stft("my_phase.Steady")
    time = torch.arange(transform.num_samples) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * 1000 * time).expand(1, 1, -1)  # 64 bins of 15.6 Hz
    spec = transform(tone)
    wav = transform.inverse(spec)
    assert wav.shape == tone.shape
    middle = slice(8, -8)  # frames away from the ends
    assert (transform(wav) - spec)[..., middle].abs().mean() < 0.1
    assert torch.equal(transform.inverse(spec, tone[..., :400])[..., :200], tone[..., :200])


def test_documented_method_is_used_by_training_and_by_the_checkpoint(
    documented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_classes(documented / "data", {"low": 300, "high": 2000})
    main([*arguments(data, documented / "run", 0.008), "--config", str(documented / "my_phase.yaml")])
    saved = yaml.safe_load((documented / "run" / "config.yaml").read_text())
    assert saved["data"]["transform"]["init_args"]["phase"]["class_path"] == "my_phase.Steady"
    monkeypatch.setenv("AUDIOGEN_TRUST", "my_phase")
    model = audiogen.load(documented / "run")
    assert type(model.transform.phase).__name__ == "Steady"
    assert audiogen.generate(model, num=1).wav.isfinite().all()
