"""The data part of a config, for commands that need no model."""

from collections.abc import Callable
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from audiogen.data.module import SpectrogramData

# What else a config holds; accepted so that the same file serves, and not looked at.
OTHER_KEYS = ("seed_everything", "model", "trainer", "optimizer", "lr_scheduler", "ckpt_path", "weights_only")


def data_parser(command: str, description: str) -> ArgumentParser:
    """Return a parser of `--config` and `--data.*`, to which a command adds its own arguments."""
    parser = ArgumentParser(prog=f"python -m audiogen {command}", description=description, exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="A config; several are laid over one another.")
    parser.add_class_arguments(SpectrogramData, "data")
    for key in OTHER_KEYS:
        parser.add_argument(f"--{key}", type=Any, help="Of no meaning here.")
    return parser


def data_and_arguments(
    parser: ArgumentParser, args: list[str], check: Callable[[Any], None] | None = None
) -> tuple[SpectrogramData, Any]:
    """Parse a command line and build the data module.

    Args:
        parser: As `data_parser` returned it.
        args: The command line.
        check: Is handed the arguments before anything is built of them, to refuse them.

    Returns:
        The module, whose data have not been read yet, and all arguments.

    Raises:
        ValueError: For data in shards, of which the sounds are not there.
    """
    arguments = parser.parse_args(args)
    if arguments.data.shards is not None:
        raise ValueError("shards hold no sounds: leave --data.shards out and name the folder of sounds")
    if check is not None:
        check(arguments.data)
    return parser.instantiate(arguments).data, arguments
