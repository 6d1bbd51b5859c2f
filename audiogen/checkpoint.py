"""One training checkpoint loads everywhere: it holds the spectrogram definition, the class names and the networks.

For sharing, a model is exported to safetensors: the same without the optimisers' state, in a file that holds no code.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import save

from audiogen.atomic import replacing
from audiogen.checkpoint_io import METADATA, SAFETENSORS, CheckpointError, checkpoint_file, read
from audiogen.outputs import check_output_file
from audiogen.resources import weights_path
from audiogen.trust import Builder, UntrustedClassError

_OWN_NUMBERS = 1 << 28  # elements that a model makes beside its weights, such as filters or VGGish's 72 million


def load(path: str | Path, device: str | torch.device = "cpu") -> Any:
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
    file = checkpoint_file(weights_path(path))
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
            model: Any = builder.build(spec, LightningModule, "model")
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
    file = checkpoint_file(weights_path(checkpoint))
    check_output_file(target, [file])
    content = read(file)
    load(file)  # what cannot be loaded is not passed on
    settings = {name: value for name, value in content["hyper_parameters"].items() if name != "_instantiator"}
    metadata = {METADATA: json.dumps({"hyper_parameters": settings, "clips_seen": content["clips_seen"]})}
    with replacing(target) as out:
        out.write(save({name: tensor.contiguous() for name, tensor in content["state_dict"].items()}, metadata))
    return target
