"""One training checkpoint loads everywhere: it holds the spectrogram definition, the class names and the networks.

For sharing, a model is exported to safetensors: the same without the optimisers' state, in a file that holds no code.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from audiogen.atomic import replacing
from audiogen.callbacks.checkpoint import (
    CHECKPOINT_FOLDER,
    CHECKPOINT_PATTERN,
    UnreadableError,
    checkpoints,
    is_whole,
    read_training_state,
)
from audiogen.data.dataset import is_plain_name
from audiogen.models.kimg import KimgModule
from audiogen.outputs import check_output_file
from audiogen.resources import weights_path
from audiogen.trust import Builder, UntrustedClassError
from audiogen.untrusted import MAX_INT, UntrustedFileError, is_regular, plain

CONFIG_NAME = "config.yaml"
SAFETENSORS = ".safetensors"
METADATA = "audiogen"  # key in the metadata of an exported file
_OWN_NUMBERS = 1 << 28  # elements that a model makes beside its weights, such as filters or VGGish's 72 million


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this package, or not a whole one."""


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


def load(path: str | Path, device: str | torch.device = "cpu") -> KimgModule:
    """Load a trained model, ready to make sound.

    A checkpoint names the classes of its model and networks. Those of this package are imported, others only where the
    environment variable AUDIOGEN_TRUST names their package (see `trust`). Weights are read without unpickling code.

    Args:
        path: A checkpoint, a run directory (its newest checkpoint), an exported file, or the name of shipped weights.
        device: Where the model goes.

    Returns:
        The LightningModule in evaluation mode.

    Raises:
        CheckpointError: Where there is no such file, it is something else, or it names classes that are not trusted.
    """
    file = _file(weights_path(path))
    try:
        content = read(file)
    except CheckpointError as error:
        raise error from None  # PyTorch's own message advises to run the code in it
    hparams = content["hyper_parameters"]
    state = content["state_dict"]
    builder = Builder(file, max_numbers=8 * sum(tensor.numel() for tensor in state.values()) + _OWN_NUMBERS)
    settings = {name: value for name, value in hparams.items() if name not in ("_class_path", "_instantiator")}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*is an instance of `nn.Module`.*")
            spec = {"class_path": hparams["_class_path"], "init_args": settings}
            model: KimgModule = builder.build(spec, KimgModule, "model")
        model.load_state_dict(state)
    except UntrustedClassError as error:
        raise CheckpointError(str(error)) from None
    except (Exception, SystemExit) as error:
        raise CheckpointError(f"{file} does not fit its model {hparams['_class_path']}: {error}") from error
    if note := builder.note():
        rank_zero_info(note)
    model.clips_seen = content["clips_seen"]
    return model.eval().to(device)


def export(checkpoint: str | Path, path: str | Path) -> Path:
    """Write a trained model as safetensors, with its settings in the file's metadata.

    Args:
        checkpoint: A checkpoint, or a run directory for its newest one.
        path: The file to write, `*.safetensors`.

    Returns:
        The path.

    Raises:
        CheckpointError: Where the checkpoint cannot be used.
        ValueError: For another suffix.
    """
    target = Path(path)
    if target.suffix != SAFETENSORS:
        raise ValueError(f"{target} should end in {SAFETENSORS}")
    file = _file(Path(checkpoint))
    check_output_file(target, [file])
    content = read(file)
    load(file)  # what cannot be loaded is not passed on
    settings = {name: value for name, value in content["hyper_parameters"].items() if name != "_instantiator"}
    metadata = {METADATA: json.dumps({"hyper_parameters": settings, "clips_seen": content["clips_seen"]})}
    with replacing(target) as out:
        out.write(save({name: tensor.contiguous() for name, tensor in content["state_dict"].items()}, metadata))
    return target


def _file(path: Path) -> Path:
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


def _read_safetensors(file: Path) -> dict[str, Any]:
    """Read what `export` wrote as the content of a checkpoint without optimisers."""
    with safe_open(file, framework="pt") as opened:
        content = json.loads((opened.metadata() or {}).get(METADATA, "{}"))
        return {**content, "state_dict": {name: opened.get_tensor(name) for name in opened.keys()}}  # noqa: SIM118


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
