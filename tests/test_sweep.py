"""The W&B sweep varies settings that exist."""

from pathlib import Path

import pytest
import yaml

from audiogen.cli import AudiogenCLI

SWEEP = yaml.safe_load(Path("slurm/wandb_sweep.yaml").read_text())


def test_command_with_a_choice_of_parameters_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AudiogenCLI, "before_instantiate_classes", lambda self: None)
    monkeypatch.setattr(AudiogenCLI, "instantiate_classes", lambda self: None)
    *command, last = SWEEP["command"]
    assert (command[:4], last) == (["python", "-m", "audiogen", "fit"], "${args}")
    chosen = {name: choice["values"][-1] if "values" in choice else choice["min"] for name, choice in _parameters()}
    config = AudiogenCLI([*command[4:], *(f"--{name}={value}" for name, value in chosen.items())], run=False).config
    assert {name: config[name] for name in chosen} == chosen


def _parameters() -> list[tuple[str, dict[str, list[float]]]]:
    return list(SWEEP["parameters"].items())
