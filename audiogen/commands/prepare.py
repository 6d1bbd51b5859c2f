"""Compute the spectrograms of a data set before they are needed, and tell what it is like."""

import tempfile
from pathlib import Path

from audiogen.commands.data_arguments import data_and_arguments, data_parser
from audiogen.data.report import DataReport, report

DESCRIPTION = "Read a data set, store its spectrograms for training, and report on it."


def prepare(args: list[str]) -> DataReport:
    """Carry out the verb.

    Args:
        args: The command line: `--config`, `--data.*` and `--check`, which reads every file anew, stores nothing, and
            fails where one cannot be used.

    Raises:
        SystemExit: With status 1 after a check that found something wrong.
    """
    parser = data_parser("prepare", DESCRIPTION)
    parser.add_argument(
        "--check", action="store_true", help="Store nothing; exit with status 1 where a file cannot be used."
    )
    data, arguments = data_and_arguments(parser, args)
    if not arguments.check:
        return report(data.loaded, data.recipe)
    with tempfile.TemporaryDirectory() as folder:
        data.cache = Path(folder)
        found = report(data.loaded, data.recipe)
    checked = DataReport(found.lines[:-1], found.good)  # nothing is stored
    if checked.good:
        return checked
    print(checked)
    raise SystemExit(1)
