"""Read the config of a run, which may come from somebody else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiogen.provenance import is_own
from audiogen.trust import PARTS_OF_RUNS, Builder
from audiogen.untrusted import MAX_TEXT, parse_yaml, read_inside


def read_config(config: Path) -> dict[str, Any]:
    """Return a run's config.yaml as plain values.

    Raises:
        UntrustedFileError: If it is not a regular file in its folder, or not YAML of bounded size.
        ValueError: If it is not a mapping.
    """
    text = read_inside(config.parent, config.name, MAX_TEXT).decode(errors="surrogateescape")
    settings = parse_yaml(text, str(config))
    if not isinstance(settings, dict):
        raise ValueError(f"{config}: expected a mapping of settings, got {settings!r:.80}")
    return settings


def run_builder(config: Path) -> Builder:
    """Return a builder for the classes that a run's config names: those of this package and of trusted packages.

    Its paths are used only if this user's `fit` wrote the file.
    """
    return Builder(config, PARTS_OF_RUNS, own=is_own(config))


def callback_arguments(
    config: Path | None, class_path: str, types: Mapping[str, Any], notes: list[str]
) -> dict[str, Any] | None:
    """Build some arguments of a callback of a run, from trusted classes only.

    Args:
        config: The run's resolved config.yaml.
        class_path: Class of the callback.
        types: Types of the arguments, by name.
        notes: Receives notes for the user.

    Returns:
        The arguments by name; None without a config or such a callback.

    Raises:
        UntrustedClassError: If the config names other classes.
        ValueError: If the file is not the config of a run.
    """
    if config is None:
        return None
    trainer = read_config(config).get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
    for callback in callbacks if isinstance(callbacks, list) else []:
        if isinstance(callback, dict) and callback.get("class_path") == class_path:
            given = callback.get("init_args")
            arguments = given if isinstance(given, dict) else {}
            builder = run_builder(config)
            found = {name: builder.build(arguments.get(name), kind, name) for name, kind in types.items()}
            notes += [note] if (note := builder.note()) else []
            return found
    return None


def find_root(config: Path) -> str | None:
    """Return the data folder in a config. A relative one is searched here, then in the folders above the run.

    Args:
        config: A config of this user.

    Returns:
        The folder, or the common folder of two domains; None if the config has none.
    """
    data = read_config(config).get("data")
    dataset = data.get("dataset") if isinstance(data, dict) else None
    arguments = dataset.get("init_args") if isinstance(dataset, dict) else None
    root = data.get("root") if isinstance(data, dict) else None
    looked_for = root or (arguments.get("a") if isinstance(arguments, dict) else None)
    if not isinstance(looked_for, str) or Path(looked_for).expanduser().exists():
        return root if isinstance(root, str) else None
    base = next((folder for folder in config.resolve().parents if (folder / looked_for).exists()), None)
    return root if base is None else str(base / root if root else base)
