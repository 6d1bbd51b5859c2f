"""Recipes of style transfer by name, changed by the user's settings, for the commands that need no run."""

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

RECIPES = Path(__file__).parent.parent / "recipes"  # the folder `configs`, which comes with the package
PREFIX = "style_transfer_"


def recipe_names() -> list[str]:
    """Return the names of all recipes that come with the package."""
    return sorted(path.stem.removeprefix(PREFIX) for path in RECIPES.glob(f"{PREFIX}*.yaml"))


class Built(NamedTuple):
    """A recipe's model.

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
    recipe: str, changes: Mapping[str, Any], network: Mapping[str, Any] | None = None, num_frames: int | None = None
) -> Built:
    """Build the model of a recipe.

    Args:
        recipe: Name of one that comes with the package (fast for `configs/style_transfer_fast.yaml`), or a file.
        changes: Arguments of the model that are not the recipe's.
        network: Arguments of its network that are not the recipe's.
        num_frames: Length of a clip, for networks that only take one.

    Raises:
        ValueError: Where there is no such recipe, or it is of something else.
    """
    # Our names come first: a config is code, and the current folder may be somebody's.
    path = RECIPES / f"{PREFIX}{recipe}.yaml" if recipe in recipe_names() else Path(recipe)
    if not path.is_file():
        raise ValueError(f"no recipe {recipe!r}: name a file, or one of {', '.join(recipe_names())}")
    content = expand_home(yaml.safe_load(path.read_text()))
    try:
        transform, model = content["data"]["transform"], content["model"]
        is_transfer = model["class_path"] == f"{StyleTransfer.__module__}.{StyleTransfer.__qualname__}"
    except (KeyError, TypeError):
        is_transfer = False
    if not is_transfer:
        raise ValueError(f"{path} is no recipe of style transfer")
    settings = model["init_args"] | dict(changes)
    if "weights" in changes:
        settings["extractor"] = None
    if network:
        if not settings.get("extractor"):
            raise ValueError(f"{', '.join(network)} cannot be changed: the network of {recipe} is trained")
        extractor = settings["extractor"]
        settings["extractor"] = extractor | {"init_args": extractor.get("init_args", {}) | dict(network)}
    if num_frames is not None:
        transform = transform | {"init_args": transform["init_args"] | {"num_frames": num_frames}}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(KimgModule, "model")
    linked = {"transform": transform, "label_names": ROLES, "batch_size": 1}
    config = parser.parse_object({"model": model | {"init_args": settings | linked}})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*is an instance of `nn.Module`.*")
        built = parser.instantiate(config).model
    return Built(built, config.model.as_dict())
