"""The command line: `python -m audiogen VERB ...`."""

import importlib
import os
import sys
from argparse import ArgumentError
from collections.abc import Callable
from io import TextIOWrapper

from audiogen import signals
from audiogen.terminal import escape_messages, printable

# What the libraries would say of their own insides on each start.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

TRAINING_COMMANDS = {
    "fit": "train a model from a config",
    "validate": "compute a model's metrics on the validation clips",
    "test": "compute a model's metrics on the test clips",
}
# Verbs that are functions: module, function, what it does.
COMMANDS = {
    "convert": ("audiogen.commands.convert", "convert_files", "make sounds of one domain into sounds of another"),
    "evaluate": (
        "audiogen.commands.evaluate",
        "evaluate",
        "score a generator, a converter, or a folder of sounds, by real clips",
    ),
    "export": ("audiogen.checkpoint", "export", "write a trained model as safetensors, to share it"),
    "generate": ("audiogen.commands.generate", "generate_files", "make sounds with a trained model"),
    "report": ("audiogen.commands.report", "report", "draw the curves and sounds of a run as one HTML page"),
    "dashboard": ("audiogen.commands.dashboard", "dashboard", "build a W&B workspace with the same curves"),
}
# Verbs that read their command line themselves: the data part of a config, or several sounds.
LINE_COMMANDS = {
    "prepare": ("audiogen.commands.prepare", "prepare", "compute the spectrograms of a data set and report on it"),
    "inspect": ("audiogen.commands.inspect", "inspect", "show a data set, and what its inverse sounds like"),
    "stylize": ("audiogen.commands.stylize", "main", "restyle one sound with another"),
    "texture": ("audiogen.commands.texture", "main", "make more of a texture, or of several mixed"),
}


def help_text() -> str:
    """Return the list of commands."""
    commands = {**TRAINING_COMMANDS, **{command: text for command, (_, _, text) in (LINE_COMMANDS | COMMANDS).items()}}
    lines = [f"  {command:<10} {text}" for command, text in commands.items()]
    usage = "usage: python -m audiogen COMMAND ...\n\nTrain generative audio models on spectrograms.\n\ncommands:"
    return "\n".join([usage, *lines, "\npython -m audiogen COMMAND --help tells more of one."])


def run(args: list[str]) -> None:
    """Carry out a command line.

    Raises:
        SystemExit: With status 2 for arguments that cannot be understood.
    """
    if not args or args[0] in ("-h", "--help"):
        print(help_text())
        raise SystemExit(0 if args else 2)
    from audiogen.home import expand_argument, expand_in_configs

    expand_in_configs()
    escape_messages()
    command, *rest = args = [expand_argument(arg) for arg in args]
    if command in COMMANDS | LINE_COMMANDS:
        rest = [_with_underscores(arg) for arg in rest]
    if command in COMMANDS:  # whose options are arguments of functions, which take a value each
        rest = ["--overwrite=true" if arg == "--overwrite" else arg for arg in rest]
    if command in COMMANDS:
        from jsonargparse import auto_cli

        found = auto_cli(
            _function(COMMANDS[command]), args=rest, prog=f"python -m audiogen {command}", exit_on_error=False
        )
        print(printable(str(found)))
    elif command in LINE_COMMANDS:
        print(printable(str(_function(LINE_COMMANDS[command])(rest))))
    elif command in TRAINING_COMMANDS:
        if command == "fit":
            signals.install()  # before the slow imports
            if os.environ.get("LOCAL_RANK", "0") != "0":  # started by the first process, not by Slurm
                signals.follow_parent()
        from audiogen.cli import main as train

        # LightningCLI warns where it is given what it would find by itself.
        train(None if args == sys.argv[1:] else args)
    else:
        print(f"audiogen: error: no command {command!r}\n\n{help_text()}", file=sys.stderr)
        raise SystemExit(2)


def _with_underscores(arg: str) -> str:
    """Let options be written with dashes: --style-weight=2 becomes --style_weight=2."""
    name, sign, value = arg.partition("=")
    return f"--{name[2:].replace('-', '_')}{sign}{value}" if arg.startswith("--") else arg


def _function(command: tuple[str, str, str]) -> Callable[..., object]:
    return getattr(importlib.import_module(command[0]), command[1])


def _innermost(error: BaseException) -> BaseException:
    """Return the error that started a chain of them."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _argument_message(error: BaseException) -> str:
    """Return where jsonargparse found something wrong and what, without the types and options it tried on the way."""
    where = str(error).splitlines()[0].rstrip(":")
    what = str(_innermost(error))
    return where if what in where else f"{where}: {what}"


def _lost_process(error: RuntimeError) -> bool:
    """Tell whether an error is that the processes of a training cannot reach one another."""
    return "gloo" in str(error) or type(error).__name__.startswith("Dist")


def main() -> None:
    """Run the command line; errors that the user can mend are told in one message, without a stack trace."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        run(sys.argv[1:])
    except ArgumentError as error:
        print(f"audiogen: error: {printable(_argument_message(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("AUDIOGEN_TRACEBACK"):
            raise
        # jsonargparse wraps errors of constructors in all it tried; our own say enough themselves.
        what = _innermost(error) if "Given value" in str(error) else error
        print(f"audiogen: error: {printable(str(what))}\n(AUDIOGEN_TRACEBACK=1 shows where)", file=sys.stderr)
        raise SystemExit(1) from None
    except RuntimeError as error:
        if os.environ.get("AUDIOGEN_TRACEBACK") or not _lost_process(error):
            raise
        reason = str(error).splitlines()[0]
        print(
            f"audiogen: error: another process of this training is gone or cannot be reached ({reason}).\nThe same "
            "command goes on from the last checkpoint",
            file=sys.stderr,
        )
        raise SystemExit(signals.EXIT_LOST) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
