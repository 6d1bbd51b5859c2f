"""What an attacker would send: files that leave another file behind where they are run, and the classes they name."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

DIGITS = Path("checkpoints/digits.safetensors").resolve()
EVIL_CLASS = {"class_path": "evil_module.Evil"}


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def content_of(path: Path) -> dict[str, Any]:
    """Return what a checkpoint or an exported file holds."""
    if path.suffix != ".safetensors":
        return torch.load(path, weights_only=True)
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {**json.loads(file.metadata()["audiogen"]), "state_dict": state}
