"""Compute the spectrograms of a data set before they are needed, and tell what it is like."""

import tempfile
from pathlib import Path

from jsonargparse.typing import PositiveInt

from audiogen.commands.data_arguments import data_and_arguments, data_parser
from audiogen.data.report import DataReport, report
from audiogen.data.shards import write_shards

DESCRIPTION = "Read a data set, store its spectrograms for training, and report on it."


def prepare(args: list[str]) -> DataReport:
    """Carry out the verb.

    Args:
        args: The command line: `--config`, `--data.*`, `--check`, which reads every file anew, stores nothing, and
            fails where one cannot be used, and `--shards`, which writes the spectrograms for many machines too.

    Raises:
        SystemExit: With status 1 after a check that found something wrong.
    """
    parser = data_parser("prepare", DESCRIPTION)
    parser.add_argument(
        "--check", action="store_true", help="Store nothing; exit with status 1 where a file cannot be used."
    )
    parser.add_argument("--shards", type=str, help="Folder for WebDataset shards, to train on with --data.shards.")
    parser.add_argument("--clips_per_shard", type=PositiveInt, default=1000, help="Clips in each shard.")
    data, arguments = data_and_arguments(parser, args)
    if arguments.shards is not None:
        num = write_shards(data.loaded, data.transform, arguments.shards, arguments.clips_per_shard)
        found = report(data.loaded, data.recipe)
        return DataReport([*found.lines, f"{num} shards in {arguments.shards}"], found.good)
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
