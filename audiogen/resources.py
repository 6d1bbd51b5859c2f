"""Find the configs and weights that ship with the package, from any folder."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

SUFFIXES = (".yaml", ".yml")


def config_names() -> list[str]:
    """Return the names of all shipped configs, such as "quickstart" and "trainer/cpu"."""
    folder = _folder("configs")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def config_path(name: str) -> Path:
    """Return the file of a config.

    Args:
        name: Path of a YAML file, or the name of a shipped config without its suffix.

    Raises:
        ValueError: If no such file or shipped config exists.
    """
    path = Path(name)
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise ValueError(f"no config file {name}")
        return path
    if name not in config_names():
        raise ValueError(f"no config {name!r}: expected a YAML file or one of {', '.join(config_names())}")
    return _folder("configs") / f"{name}.yaml"


def weights_path(name: str | Path) -> Path:
    """Return the file or run directory of trained weights.

    Args:
        name: Path of a checkpoint, a `.safetensors` file or a run directory, or the name of shipped weights, such as
            "digits". A shipped name takes precedence; write ./digits for a folder of that name.
    """
    shipped = _folder("checkpoints") / f"{name}.safetensors"
    return shipped if str(name).isidentifier() and shipped.is_file() else Path(name).expanduser()


def with_config_paths(args: Sequence[str]) -> list[str]:
    """Replace names of shipped configs in a command line by their paths.

    Names may follow the command, or the option --config.

    Args:
        args: Command, then its arguments.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> with_config_paths(["fit", "quickstart", "--data.root", "x"])[1]
        '--config'
    """
    found, rest = list(args[:1]), list(args[1:])
    while rest and not rest[0].startswith("-"):
        found += ["--config", str(config_path(rest.pop(0)))]
    for previous, arg in zip([*args[:1], *rest], rest, strict=False):
        name, sign, value = arg.partition("=")
        if previous == "--config":
            arg = str(config_path(arg))
        elif name == "--config" and sign:
            arg = f"--config={config_path(value)}"
        found.append(arg)
    return found


def _folder(name: str) -> Path:
    return Path(str(files(f"audiogen.{name}")))
