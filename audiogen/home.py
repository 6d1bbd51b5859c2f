"""Expand `~` in paths, in one place for all flags and configs.

A shell expands `--out ~/x`, but neither `--out=~/x` nor values in YAML. Every string that starts with `~/` or `~name/`
is treated as a path, whatever its argument.
"""

import os
import re
from collections.abc import Callable
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

_HOME = re.compile(r"~[\w.-]*(/|$)")


def expand_home(value: Any) -> Any:
    """Return a value with a leading home directory expanded in all its strings.

    Args:
        value: A string, or lists and dicts of them at any depth; other values are returned unchanged.

    Example:
        >>> expand_home({"root": "~nobody_here/x", "num": 3})
        {'root': '~nobody_here/x', 'num': 3}
    """
    if isinstance(value, str):
        return os.path.expanduser(value) if _HOME.match(value) else value
    if isinstance(value, dict):
        return {key: expand_home(part) for key, part in value.items()}
    return [expand_home(part) for part in value] if isinstance(value, list) else value


def expand_argument(arg: str) -> str:
    """Expand the path in a command-line argument: `~/x`, or the value in `--name=~/x`."""
    name, sign, value = arg.partition("=")
    return f"{name}{sign}{expand_home(value)}" if arg.startswith("--") and sign else expand_home(arg)


def expand_in_configs() -> None:
    """Make jsonargparse expand the paths in every config and nested value that it reads from now on."""
    load: Callable[[str], Any] = get_loader("yaml")
    if not hasattr(load, "expands_home"):

        def load_and_expand(stream: str) -> Any:
            return expand_home(load(stream))

        load_and_expand.expands_home = True  # type: ignore[attr-defined]
        set_loader("yaml", load_and_expand, (yaml.YAMLError,))
