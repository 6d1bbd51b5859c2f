"""Compute the spectrograms of a data set before they are needed, and tell what it is like."""

import tempfile
from pathlib import Path

from jsonargparse.typing import PositiveInt

from audiogen.commands.data_arguments import data_and_arguments, data_parser
from audiogen.data.report import DataReport, report
from audiogen.data.shards import new_shard_folder, write_shards

DESCRIPTION = "Read a data set, store its spectrograms for training, and report on it."


def prepare(args: list[str]) -> DataReport:
    """Carry out the verb.

    Args:
        args: The command line: `--config`, `--data.*`, `--check`, which reads every file anew, keeps nothing, and
            fails where one cannot be used, and `--shards`, which writes the spectrograms for many machines too.

    Raises:
        SystemExit: With status 1 after a check that found something wrong.
    """
    parser = data_parser("prepare", DESCRIPTION)
    parser.add_argument(
        "--check", action="store_true", help="Keep nothing; exit with status 1 where a file is left out."
    )
    parser.add_argument("--shards", type=str, help="Folder for WebDataset shards, to train on with --data.shards.")
    parser.add_argument("--clips_per_shard", type=PositiveInt, default=1000, help="Clips in each shard.")
    data, arguments = data_and_arguments(parser, args)
    if arguments.check and arguments.shards is not None:
        raise ValueError("--check stores nothing: leave out one of --check and --shards")
    if arguments.shards is not None:
        folder = new_shard_folder(arguments.shards)
        found = report(data.loaded, data.recipe)
        num = write_shards(data.loaded, data.recipe, folder, arguments.clips_per_shard)
        return DataReport([*found.lines, f"{num} shards in {folder}"], found.good)
    if not arguments.check:
        return report(data.loaded, data.recipe)
    data.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.cache) as temporary:  # where there is room for such data
        data.cache = Path(temporary)
        found = report(data.loaded, data.recipe)
    checked = DataReport(found.lines[:-1], found.good)  # nothing is stored
    if checked.good:
        return checked
    print(checked)
    raise SystemExit(1)
