"""Build a style transfer model from configs and the user's settings, without a run."""

import warnings
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from audiogen.commands.parser import add_config_arguments
from audiogen.home import expand_in_configs
from audiogen.models.kimg import KimgModule
from audiogen.models.style_transfer import ROLES, StyleTransfer
from audiogen.resources import config_path


class Built(NamedTuple):
    """A style transfer model.

    Attributes:
        model: The model.
        settings: All its arguments, as plain values.
    """

    model: StyleTransfer
    settings: dict[str, Any]


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None, by name."""
    return {name: value for name, value in values.items() if value is not None}


def config_list(config: str | Sequence[str]) -> list[str]:
    """Return one or several configs as a list."""
    return [config] if isinstance(config, str) else list(config)


def build_style_transfer(
    config: str | Sequence[str],
    changes: Mapping[str, Any],
    network: Mapping[str, Any] | None = None,
    num_frames: int | None = None,
) -> Built:
    """Build the model that a config describes.

    Args:
        config: Names of shipped configs or YAML files, merged in this order as by `fit --config`.
        changes: Arguments of the model that override the config's.
        network: Arguments of its network that override the config's.
        num_frames: Frames of a clip, for networks that accept a single length.

    Raises:
        ValueError: If there is no such config, or it does not describe a style transfer model.
    """
    transform, model = _merged(config_list(config))
    settings = model["init_args"] | dict(changes)
    if "weights" in changes:
        settings["extractor"] = None
    if network:
        if not settings.get("extractor"):
            raise ValueError(f"{', '.join(network)} cannot be changed: the config uses a trained network")
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


def _merged(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the transform and the model of merged configs, as plain values.

    Raises:
        ValueError: If there is no such config, or it does not describe a style transfer model.
    """
    paths = [str(config_path(name)) for name in names]
    expand_in_configs()
    parser = ArgumentParser(exit_on_error=False)
    add_config_arguments(parser, parsed=["model"])
    parser.add_subclass_arguments(KimgModule, "model", skip={"transform", "label_names", "batch_size"})
    wanted = f"{StyleTransfer.__module__}.{StyleTransfer.__qualname__}"
    try:
        parsed = parser.parse_args([part for path in paths for part in ("--config", path)])
        fits = parsed.model.class_path == wanted
    except (ArgumentError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{', '.join(names)} does not describe a style transfer model: {error}") from error
    if not fits:
        raise ValueError(f"{', '.join(names)} does not describe a style transfer model ({wanted})")
    return parsed.data.transform.as_dict(), parsed.model.as_dict()
