"""What a run was configured with, for verbs that go on from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from audiogen.trust import PARTS_OF_RUNS, only_trusted, require_classes


def callback_arguments(config: Path | None, class_path: str, types: Mapping[str, Any]) -> dict[str, Any] | None:
    """Build some arguments of a callback that a run had, of trusted classes alone: runs come from others too.

    Args:
        config: The run's resolved config.yaml.
        class_path: Of the callback.
        types: Of the arguments, by name.

    Returns:
        The arguments by name; None where there is no config or no such callback in it.

    Raises:
        UntrustedClassError: Where it names others.
    """
    if config is None:
        return None
    for callback in yaml.safe_load(config.read_text())["trainer"]["callbacks"] or []:
        if callback["class_path"] == class_path:
            parser = ArgumentParser(exit_on_error=False)
            for name, kind in types.items():
                parser.add_argument(f"--{name}", type=kind)
            with only_trusted(config, PARTS_OF_RUNS):
                found = parser.parse_object({name: callback["init_args"][name] for name in types})
                require_classes(config, found)
                return vars(parser.instantiate(found))
    return None
