"""The command line: `audiogen COMMAND ...`."""

import importlib
import os
import sys
from argparse import ArgumentError
from collections.abc import Mapping
from io import TextIOWrapper
from typing import NamedTuple

from audiogen import signals
from audiogen.terminal import escape_messages, printable

# Deprecation notes of jsonargparse about itself.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


class Command(NamedTuple):
    """A command.

    Attributes:
        about: One line for the list of commands.
        module: The module of its function, which has the command's name; None for those of LightningCLI.
        defaults: Defaults of options that differ from the function's.
    """

    about: str
    module: str | None = None
    defaults: Mapping[str, str] = {}


COMMANDS = {
    "fit": Command("train a model"),
    "validate": Command("compute a model's metrics on the validation clips"),
    "test": Command("compute a model's metrics on the test clips"),
    "prepare": Command("compute the spectrograms of a data set and report on it", "audiogen.commands.prepare"),
    "inspect": Command("look at a data set and listen to its round trip", "audiogen.commands.inspect"),
    "generate": Command("make sounds with a trained model", "audiogen.commands.generate", {"out": "samples"}),
    "convert": Command("convert sounds to another domain", "audiogen.commands.convert", {"out": "converted"}),
    "stylize": Command("restyle one sound with another", "audiogen.commands.stylize", {"out": "stylized.wav"}),
    "texture": Command("make more of a texture", "audiogen.commands.texture", {"out": "texture.wav"}),
    "evaluate": Command("compare generated sounds with real ones", "audiogen.commands.evaluate"),
    "report": Command("write the curves and sounds of a run as an HTML page", "audiogen.commands.report"),
    "dashboard": Command("build a W&B workspace with the same curves", "audiogen.commands.dashboard"),
    "export": Command("write a trained model as safetensors", "audiogen.checkpoint"),
}


def help_text() -> str:
    """Return the list of commands."""
    lines = [f"  {name:<10} {command.about}" for name, command in COMMANDS.items()]
    usage = "usage: audiogen COMMAND ...\n\nTrain generative audio models on spectrograms.\n\ncommands:"
    return "\n".join([usage, *lines, "\naudiogen COMMAND --help lists the options of a command."])


def run(args: list[str]) -> None:
    """Run a command line.

    Raises:
        SystemExit: With status 2 if there is no such command.
    """
    if not args or args[0] in ("-h", "--help"):
        print(help_text())
        raise SystemExit(0 if args else 2)
    if args[0] not in COMMANDS:
        print(f"audiogen: error: no command {args[0]!r}\n\n{help_text()}", file=sys.stderr)
        raise SystemExit(2)
    from audiogen.home import expand_argument, expand_in_configs

    expand_in_configs()
    escape_messages()
    name, *rest = args = [expand_argument(arg) for arg in args]
    command = COMMANDS[name]
    if command.module is not None:
        from audiogen.commands.parser import call

        function = getattr(importlib.import_module(command.module), name)
        print(printable(str(call(name, function, rest, command.defaults))))
        return
    if name == "fit":
        signals.install()  # before the slow imports
        if os.environ.get("LOCAL_RANK", "0") != "0":  # started by the first process, not by Slurm
            signals.follow_parent()
    from audiogen.cli import main as train

    # LightningCLI warns about arguments that are those of the process.
    train(None if args == sys.argv[1:] else args)


def _innermost(error: BaseException) -> BaseException:
    """Return the first error of a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _argument_message(error: BaseException) -> str:
    """Return the position and the cause of a parser error, without the types and options that were tried."""
    where = str(error).splitlines()[0].rstrip(":")
    what = str(_innermost(error))
    return where if what in where else f"{where}: {what}"


def _lost_process(error: RuntimeError) -> bool:
    """Return whether an error means that the processes of a training have lost each other."""
    return "gloo" in str(error) or type(error).__name__.startswith("Dist")


def main() -> None:
    """Run the command line. Errors that the user can fix are printed without a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        run(sys.argv[1:])
    except ArgumentError as error:
        print(f"audiogen: error: {printable(_argument_message(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("AUDIOGEN_TRACEBACK"):
            raise
        # jsonargparse wraps errors of constructors in a list of attempts; the innermost message is enough.
        what = _innermost(error) if "Given value" in str(error) else error
        print(f"audiogen: error: {printable(str(what))}\n(AUDIOGEN_TRACEBACK=1 prints the traceback)", file=sys.stderr)
        raise SystemExit(1) from None
    except RuntimeError as error:
        if os.environ.get("AUDIOGEN_TRACEBACK") or not _lost_process(error):
            raise
        reason = str(error).splitlines()[0]
        print(
            f"audiogen: error: another process of this training ended or cannot be reached ({reason}).\nThe same "
            "command resumes from the last checkpoint",
            file=sys.stderr,
        )
        raise SystemExit(signals.EXIT_LOST) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
