"""Which classes a file that somebody sent may name: those of this package that models are made of.

A config is code, since any class it names is imported. A checkpoint is not: what it names is held by jsonargparse's
rule for import paths, which is asked before anything is imported, wherever in the file the path stands and however it
is written, and once more of what was found there (`audiogen.models.stylegan2.torch` is torch). Then, before anything is
called, whether all of it are classes: jsonargparse takes functions too, and one of ours downloads files.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import Namespace, set_parsing_settings
from jsonargparse._common import parsing_settings  # nothing public takes a rule back

TRUST = "AUDIOGEN_TRUST"  # names further packages, with commas between them
# Embeddings and data sets are not among them: some read folders or download what their arguments name.
PARTS_OF_MODELS = tuple(f"audiogen.{part}" for part in ("augment", "models", "networks", "transforms"))
# What an evaluation is configured with too, for the config that lies beside a checkpoint.
PARTS_OF_RUNS = (*PARTS_OF_MODELS, *(f"audiogen.{part}" for part in ("audio", "callbacks", "data", "metrics")))
_REFUSED = re.compile(r"Importing '([^']+)' is not allowed")


class UntrustedClassError(ValueError):
    """A file that names a class which is not trusted."""


@contextmanager
def only_trusted(file: Path, parts: tuple[str, ...] = PARTS_OF_MODELS) -> Iterator[None]:
    """Let jsonargparse import nothing but what is trusted while it parses what a file describes; in one thread.

    What was parsed is handed to `require_classes` before it is instantiated.

    Args:
        file: For the message.
        parts: Of this package, beside the packages that the environment variable AUDIOGEN_TRUST names.

    Raises:
        UntrustedClassError: Where the file names something else.
        ValueError: Where the environment variable holds something else than names.
    """
    named = _named_by_user()
    before = dict(parsing_settings)
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*parts, *named],
        instantiate_subclass_spec_in_any=False,  # where nothing says of what kind a class should be, it stays a dict
    )
    try:
        yield
    except Exception as error:
        if refused := _REFUSED.search(str(error)):
            raise UntrustedClassError(f"{file} names {refused[1]}, {_advice(refused[1])}") from error
        raise
    finally:
        parsing_settings.update(before)


def require_classes(file: Path, config: Any) -> None:
    """Refuse what was parsed of a file if it would call anything but classes.

    Args:
        file: For the message.
        config: As jsonargparse's parser returned it.

    Raises:
        UntrustedClassError: Where it would.
    """
    for path in _called(config):
        module, _, name = path.rpartition(".")
        if not isinstance(getattr(sys.modules.get(module), name, None), type):
            raise UntrustedClassError(f"{file} names {path}, which is no class that models are made of")


def _called(value: Any) -> Iterator[str]:
    """Yield the import paths of all classes and functions in a config, at any depth."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        yield from (path for name, path in value.items() if name == "class_path" and isinstance(path, str))
    if isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _called(item)
    elif callable(value):
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}()"


def _named_by_user() -> list[str]:
    text = os.environ.get(TRUST, "")
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")) or _is_no_model(name):
            raise ValueError(f"{TRUST}={text}: expected packages with models, with commas, such as my_networks")
    return names


def _is_no_model(path: str) -> bool:
    return path.partition(".")[0] in {"audiogen", "jsonargparse", *sys.stdlib_module_names} - {"__main__"}


def _advice(path: str) -> str:
    if _is_no_model(path):
        return "of which no model is made: do not use this file"
    return (
        "which is not of audiogen, and importing it would run its code: if it is yours, or you trust it, set "
        f"{TRUST}={path.partition('.')[0]} (docs/security.md)"
    )
