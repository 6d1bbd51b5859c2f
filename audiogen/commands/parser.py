"""Turn a function into a command: its signature and docstring define the arguments, options and help."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docstring_parser import parse as parse_docstring
from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from audiogen.data.module import SpectrogramData
from audiogen.resources import with_config_paths

# Keys of a training config beside `data`: accepted and ignored, so that commands read the same files.
OTHER_KEYS = (
    *("seed_everything", "model", "trainer", "checkpoint", "progress"),
    *("optimizer", "lr_scheduler", "ckpt_path", "weights_only"),
)


def call(command: str, function: Callable[..., Any], args: Sequence[str], defaults: Mapping[str, Any]) -> Any:
    """Call a function with the arguments of a command line.

    Parameters without a default become positional arguments; one that takes a sequence accepts several. The others
    become options, whose names may be written with dashes. Flags need no value. A parameter `data` becomes the options
    `--data.*` and `--config`, as for training.

    Args:
        command: Name of the command.
        function: The function. Its docstring provides the help.
        args: The command line after the command.
        defaults: Defaults of options that differ from the function's.

    Returns:
        What the function returns.

    Raises:
        ArgumentError: If the command line does not fit the signature.
        ValueError: If the data are shards, which contain no sounds.
    """
    parameters = inspect.signature(function).parameters
    parser = _parser(command, function)
    parser.set_defaults(dict(defaults))
    if "data" in parameters:
        args = with_config_paths([command, *args])[1:]
    arguments = parser.parse_args(_as_yaml(list(map(_with_underscores, args)), parameters))
    values = parser.instantiate(_without_shards(arguments) if "data" in parameters else arguments)
    return function(**{name: values[name] for name in parameters if name != "config" or values[name] is not None})


def add_config_arguments(parser: ArgumentParser, parsed: Sequence[str] = ()) -> None:
    """Add `--config`, `--data.*` and the other keys of a training config, which are ignored.

    Args:
        parser: The parser.
        parsed: Other keys that the caller adds itself.
    """
    parser.add_argument("--config", action=ActionConfigFile, help="Training config; repeat it to merge several.")
    parser.add_class_arguments(SpectrogramData, "data")
    for key in OTHER_KEYS:
        if key not in parsed:
            parser.add_argument(f"--{key}", type=Any, help="Ignored.")


def read_data(args: Sequence[str]) -> SpectrogramData:
    """Build the data module that `--config` and `--data.*` describe, without reading the data.

    Raises:
        ValueError: If the data are shards, which contain no sounds.
    """
    parser = ArgumentParser(exit_on_error=False)
    add_config_arguments(parser)
    return parser.instantiate(_without_shards(parser.parse_args(list(args)))).data


def _without_shards(arguments: Any) -> Any:
    """Return the arguments unless their data are shards."""
    if arguments.data.shards is not None:
        raise ValueError("shards contain no sounds: name the folder of sounds with --data.root, without --data.shards")
    return arguments


def _parser(command: str, function: Callable[..., Any]) -> ArgumentParser:
    """Return the parser of a command."""
    text = parse_docstring(function.__doc__ or "")
    about = {part.arg_name: part.description for part in text.params}
    parser = ArgumentParser(prog=f"audiogen {command}", description=text.short_description, exit_on_error=False)
    done: set[str | int] = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "data":
            add_config_arguments(parser)
        elif name == "config":
            parser.add_argument("--config", action="append", help=about[name])
        elif parameter.default is parameter.empty:
            parser.add_argument(name, help=about[name], nargs="+" if "Sequence" in str(parameter.annotation) else None)
        else:
            continue
        done.add(name)
    parser.add_function_arguments(function, as_group=False, skip=done)
    return parser


def _as_yaml(args: Sequence[str], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Write the values of flags and infinite numbers as YAML: --overwrite=true, --seconds=.inf."""
    flags = {f"--{name}" for name, parameter in parameters.items() if parameter.default is False}
    numbers = {f"--{name}" for name, parameter in parameters.items() if "float" in str(parameter.annotation)}
    written = []
    for option, arg in zip(["", *args], args, strict=False):
        if arg in flags:
            arg = f"{arg}=true"
        elif (arg == "inf" and option in numbers) or arg in {f"{name}=inf" for name in numbers}:
            arg = arg.removesuffix("inf") + ".inf"
        written.append(arg)
    return written


def _with_underscores(arg: str) -> str:
    """Replace dashes in the name of an option: --style-weight=2 becomes --style_weight=2."""
    name, sign, value = arg.partition("=")
    return f"--{name[2:].replace('-', '_')}{sign}{value}" if arg.startswith("--") else arg
