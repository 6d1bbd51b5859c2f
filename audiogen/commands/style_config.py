"""Configs of style transfer by name, changed by the user's settings, for the commands that need no run."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser

from audiogen.home import expand_home
from audiogen.models.kimg import KimgModule
from audiogen.models.style_transfer import ROLES, StyleTransfer

CONFIGS = Path(__file__).parent.parent / "configs"  # the folder `configs`, which comes with the package
PREFIX = "style_transfer_"


def config_names() -> list[str]:
    """Return the names of all configs that come with the package."""
    return sorted(path.stem.removeprefix(PREFIX) for path in CONFIGS.glob(f"{PREFIX}*.yaml"))


class Built(NamedTuple):
    """A config's model.

    Attributes:
        model: Ready to begin.
        settings: All its arguments, as plain values.
    """

    model: StyleTransfer
    settings: dict[str, Any]


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None, by their names."""
    return {name: value for name, value in values.items() if value is not None}


def transfer_parser(
    command: str, function: Callable[..., Any], sounds: Sequence[str], several: bool = False
) -> ArgumentParser:
    """Return the command line of a command: sounds first, and all other arguments of its function as options.

    Args:
        command: Its name.
        function: What carries it out; its docstring is the help.
        sounds: Names of the arguments that are sound files.
        several: Whether the one argument takes several files.
    """
    text = parse_docstring(function.__doc__ or "")
    parser = ArgumentParser(
        prog=f"python -m audiogen {command}", description=text.short_description, exit_on_error=False
    )
    for name in sounds:
        (about,) = (part.description for part in text.params if part.arg_name == name)
        parser.add_argument(name, help=about, nargs="+" if several else None)
    parser.add_function_arguments(function, as_group=False, skip=set(sounds))
    return parser


def build_style_transfer(
    config: str, changes: Mapping[str, Any], network: Mapping[str, Any] | None = None, num_frames: int | None = None
) -> Built:
    """Build the model of a config.

    Args:
        config: Name of one that comes with the package (fast for `configs/style_transfer_fast.yaml`), or a file.
        changes: Arguments of the model that are not the config's.
        network: Arguments of its network that are not the config's.
        num_frames: Length of a clip, for networks that only take one.

    Raises:
        ValueError: Where there is no such config, or it is of something else.
    """
    # Our names come first: a config is code, and the current folder may be somebody's.
    path = CONFIGS / f"{PREFIX}{config}.yaml" if config in config_names() else Path(config)
    if not path.is_file():
        raise ValueError(f"no config {config!r}: name a file, or one of {', '.join(config_names())}")
    content = expand_home(yaml.safe_load(path.read_text()))
    try:
        transform, model = content["data"]["transform"], content["model"]
        is_transfer = model["class_path"] == f"{StyleTransfer.__module__}.{StyleTransfer.__qualname__}"
    except (KeyError, TypeError):
        is_transfer = False
    if not is_transfer:
        raise ValueError(f"{path} is no config of style transfer")
    settings = model["init_args"] | dict(changes)
    if "weights" in changes:
        settings["extractor"] = None
    if network:
        if not settings.get("extractor"):
            raise ValueError(f"{', '.join(network)} cannot be changed: the network of {config} is trained")
        extractor = settings["extractor"]
        settings["extractor"] = extractor | {"init_args": extractor.get("init_args", {}) | dict(network)}
    if num_frames is not None:
        transform = transform | {"init_args": transform["init_args"] | {"num_frames": num_frames}}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(KimgModule, "model")
    linked = {"transform": transform, "label_names": ROLES, "batch_size": 1}
    parsed = parser.parse_object({"model": model | {"init_args": settings | linked}})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*is an instance of `nn.Module`.*")
        built = parser.instantiate(parsed).model
    return Built(built, parsed.model.as_dict())
