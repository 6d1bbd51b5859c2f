"""One training checkpoint loads everywhere: it holds the spectrogram definition, the class names and the networks."""

import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import instantiate_module

from audiogen.callbacks.checkpoint import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN
from audiogen.models.kimg import KimgModule


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this package, or not a whole one."""


def newest_checkpoint(run: Path) -> Path | None:
    """Return the checkpoint of a run directory that has seen the most clips, or None."""
    return max((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN), default=None)


def load(path: str | Path, device: str | torch.device = "cpu") -> KimgModule:
    """Load a trained model, ready to make sound.

    A checkpoint names the classes of its model and networks, and these are imported: load files you trust. Weights are
    read without unpickling code.

    Args:
        path: A checkpoint, or a run directory for its newest one.
        device: Where the model goes.

    Returns:
        The LightningModule in evaluation mode.

    Raises:
        CheckpointError: Where there is no such file, or it is something else.
    """
    file = Path(path)
    if file.is_dir():
        newest = newest_checkpoint(file)
        if newest is None:
            raise CheckpointError(f"no checkpoint in run directory {file} ({CHECKPOINT_FOLDER}/{CHECKPOINT_PATTERN})")
        file = newest
    content = read(file)
    hparams = {name: value for name, value in content["hyper_parameters"].items() if name != "_instantiator"}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*is an instance of `nn.Module`.*")
            model = instantiate_module(KimgModule, hparams)
        model.load_state_dict(content["state_dict"])
    except (Exception, SystemExit) as error:
        raise CheckpointError(f"{file} does not fit its model {hparams['_class_path']}: {error}") from error
    model.clips_seen = content["clips_seen"]
    return model.eval().to(device)


def read(file: Path) -> dict[str, Any]:
    """Read a checkpoint's content.

    Raises:
        CheckpointError: Where there is no such file, or it is something else.
    """
    if not file.exists():
        raise CheckpointError(f"no such checkpoint: {file}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        reason = str(error).split("\n")[0]
        raise CheckpointError(f"{file} is not a readable checkpoint ({type(error).__name__}: {reason})") from error
    if (
        not isinstance(content, dict)
        or "clips_seen" not in content
        or "_class_path" not in content.get("hyper_parameters", ())
    ):
        raise CheckpointError(f"{file} is not a checkpoint of audiogen: it was saved by another program")
    return content
