"""List, read, check and write checkpoint files, without building models.

A training checkpoint is a zip file of `torch.save` with the SHA-256 of its content in the zip comment
(`audiogen.checksums`). It is read without unpickling code. An exported model is a safetensors file with the same
content, except for the optimisers, and its settings in the metadata.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.utilities import rank_zero_info
from safetensors import safe_open
from torch import Tensor

from audiogen.atomic import replacing
from audiogen.checksums import is_intact_zip, is_sealed_zip, seal_zip
from audiogen.untrusted import MAX_INT, UntrustedFileError, is_plain_name, is_regular, plain, require_stored_zip

CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_PATTERN = "kimg-*.ckpt"
BEST_CHECKPOINT = "best.ckpt"
INTERRUPTED_CHECKPOINT = "interrupted.ckpt"
CONFIG_NAME = "config.yaml"
SAFETENSORS = ".safetensors"
METADATA = "audiogen"  # key in the metadata of an exported file


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this package, or not a whole one."""


class CheckpointFiles(CheckpointIO):
    """Checkpoints as files that are written beside their place and renamed, and read without running code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; one of the same name stays where that fails.

        Raises:
            OSError: Where there is no room, or the folder cannot be written.
        """
        try:
            with replacing(Path(path)) as file:
                torch.save(checkpoint, file)
                seal_zip(file)
        except (OSError, RuntimeError) as error:
            cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch hides it
            if not isinstance(cause, OSError):
                raise
            reason = f"{cause.strerror}: the checkpoint was not saved, those before it are as they were"
            raise OSError(cause.errno, reason, str(path)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; whatever is asked for, no code in it is run."""
        return read_training_state(path, map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class UnreadableError(ValueError):
    """A checkpoint that is damaged, or holds code, which is not run."""


def read_training_state(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running code in it.

    Raises:
        UnreadableError: The file is damaged, or cannot be read without running code.
    """
    try:
        require_stored_zip(Path(path))
    except UntrustedFileError as error:
        raise UnreadableError(f"{path} is not a readable checkpoint (FormatError: {error})") from error
    if is_sealed_zip(Path(path)) and not is_intact_zip(Path(path)):
        raise UnreadableError(f"{path} is not a readable checkpoint: it is damaged, its checksum does not match")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        kind, reason = type(error).__name__, str(error).split("\n")[0]
        if kind == "UnpicklingError":  # torch advises to run the code
            reason = "it is damaged, or holds code, which is not run"
        raise UnreadableError(f"{path} is not a readable checkpoint ({kind}: {reason})") from error


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint is there, matches the checksum of the whole file, and can be read by torch."""
    try:
        require_stored_zip(path)  # before it is opened: a pipe would have to be waited for
        if not is_intact_zip(path):
            return False
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # weights stay on disk
    except Exception:  # such as one of a newer release of torch
        return False
    return True


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run directory by the clips they have seen; some may be damaged."""
    return sorted((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN), key=clips_of)


def clips_of(path: Path) -> float:
    """Return the clips that a checkpoint has seen, in thousands, by its name; of other names, nothing."""
    try:
        return float(path.stem.removeprefix("kimg-"))
    except ValueError:
        return -1.0


def newest_checkpoint(run: Path) -> Path | None:
    """Return the checkpoint of a run directory that has seen the most clips, or None; damaged ones are named."""
    for path in reversed(checkpoints(run)):
        if is_whole(path):
            return path
        rank_zero_info(f"{path} is damaged, and left out: delete it, or take it from a backup")
    return None


def find_config(path: Path) -> Path | None:
    """Return the resolved config of the run that a run directory or a checkpoint in it belongs to, or None."""
    places = [path, path.parent.parent]  # RUN, RUN/checkpoints/kimg-00050.000.ckpt
    return next((place / CONFIG_NAME for place in places if (place / CONFIG_NAME).is_file()), None)


def checkpoint_file(path: Path) -> Path:
    """Return a checkpoint, of a run directory the newest.

    Raises:
        CheckpointError: Where a directory has none.
    """
    if not path.is_dir():
        return path
    newest = newest_checkpoint(path)
    if newest is None:
        found = checkpoints(path)
        why = (
            f": {found[-1].name} is not a readable checkpoint (damaged, or it holds code, which is not run)"
            if found
            else ""
        )
        raise CheckpointError(f"no checkpoint in run directory {path} ({CHECKPOINT_FOLDER}/{CHECKPOINT_PATTERN}){why}")
    return newest


def read(file: Path) -> dict[str, Any]:
    """Read a checkpoint's content and check all that a model or a training takes from it.

    Raises:
        CheckpointError: Where there is no such file, it is something else, or it holds values that cannot be.
    """
    if not os.path.lexists(file):
        raise CheckpointError(f"no such checkpoint: {file}")
    if not is_regular(file):
        raise CheckpointError(f"{file} is not a readable checkpoint: expected a regular file")
    try:
        content = _read_safetensors(file) if file.suffix == SAFETENSORS else read_training_state(file)
    except UnreadableError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # safetensors has errors of its own
        raise CheckpointError(f"{file} is not a readable checkpoint ({type(error).__name__}: {error})") from error
    if (
        not isinstance(content, dict)
        or "clips_seen" not in content
        or "_class_path" not in content.get("hyper_parameters", ())
    ):
        raise CheckpointError(f"{file} is not a checkpoint of audiogen: it was saved by another program")
    _check_settings(file, content["hyper_parameters"])
    _check_numbers(file, content)
    return content


def _check_settings(file: Path, hparams: Any) -> None:
    """Refuse hyperparameters that are not plain values, or name classes after which no file can be named."""
    if type(hparams) is not dict:
        raise CheckpointError(f"{file} is damaged: its hyperparameters have no names")
    try:
        plain(hparams, f"{file} is damaged: its hyperparameters")
    except UntrustedFileError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(hparams["_class_path"], str):
        raise CheckpointError(
            f"{file} does not fit its model: expected the name of a class, got {hparams['_class_path']}"
        )
    names = hparams.get("label_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{file} does not fit its model: expected label_names as a list of texts, got {names!r:.80}"
        )
    if bad := [name for name in names if not is_plain_name(name)]:
        raise CheckpointError(f"{file} has a class {bad[0]!r}, after which no file can be named")
    if len(set(names)) < len(names):
        raise CheckpointError(f"{file} is damaged: two of its classes have the same name")


def _check_numbers(file: Path, content: dict[str, Any]) -> None:
    """Refuse counts that cannot be, and weights that are not finite numbers, or fewer than they seem."""
    state, skipped, recorded = content.get("state_dict"), content.get("skipped", []), content.get("recorded", [{}])
    expected = {
        "clips_seen as a whole number of at least 0": _is_count(content["clips_seen"]),
        "stopped as true or false": isinstance(content.get("stopped", False), bool),
        "skipped as counts of clips": isinstance(skipped, list) and all(map(_is_count, skipped)),
        "recorded as values by their names": isinstance(recorded, list)
        and bool(recorded)
        and all(map(_is_state, recorded)),
    }
    if wrong := [what for what, fits in expected.items() if not fits]:
        found = content.get(wrong[0].partition(" ")[0])
        raise CheckpointError(f"{file} is damaged: expected {wrong[0]}, got {found!r:.80}")
    if not isinstance(state, dict) or not _is_state(state):
        raise CheckpointError(f"{file} does not fit its model: expected weights as tensors by their names")
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{file} is damaged: {name} claims {list(tensor.shape)} of a smaller storage")
        if not tensor.isfinite().all():
            raise CheckpointError(f"{file} has NaN or infinite weights in {name}: take an earlier checkpoint")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INT


def _is_state(value: Any) -> bool:
    """Return whether a value is made of plain tensors by their names: not sparse, quantised or without numbers."""
    return isinstance(value, dict) and all(isinstance(name, str) and _is_plain_tensor(x) for name, x in value.items())


def _is_plain_tensor(x: Any) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided and x.device.type == "cpu" and not x.is_quantized


def _read_safetensors(file: Path) -> dict[str, Any]:
    """Read what `export` wrote as the content of a checkpoint without optimisers."""
    with safe_open(file, framework="pt") as opened:
        content = json.loads((opened.metadata() or {}).get(METADATA, "{}"))
        return {**content, "state_dict": {name: opened.get_tensor(name) for name in opened.keys()}}  # noqa: SIM118
