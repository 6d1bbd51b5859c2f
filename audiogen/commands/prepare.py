"""Compute the spectrograms of a data set before they are needed, and tell what it is like."""

import tempfile
from pathlib import Path

from jsonargparse.typing import PositiveInt

from audiogen.commands.data_arguments import data_and_arguments, data_parser
from audiogen.data.cache import cached_part
from audiogen.data.loading import pipeline_for, sound_files
from audiogen.data.module import SpectrogramData
from audiogen.data.parts import Part, parse_part
from audiogen.data.report import DataReport, report
from audiogen.data.shards import new_shard_folder, write_shards
from audiogen.terminal import printable

DESCRIPTION = "Read a data set, store its spectrograms for training, and report on it."


def prepare(args: list[str]) -> DataReport:
    """Carry out the command.

    Args:
        args: The command line: `--config`, `--data.*`, `--check`, which reads every file anew, keeps nothing, and
            fails where one cannot be used, `--shards`, which writes the spectrograms for many machines too, and
            `--part`, which computes a share of them, for many machines to work at once.

    Raises:
        SystemExit: With status 1 after a check that found something wrong.
    """
    parser = data_parser("prepare", DESCRIPTION)
    parser.add_argument(
        "--check", action="store_true", help="Keep nothing; exit with status 1 where a file is left out."
    )
    parser.add_argument("--shards", type=str, help="Folder for WebDataset shards, to train on with --data.shards.")
    parser.add_argument("--overwrite", action="store_true", help="Replace earlier shards in the folder.")
    parser.add_argument("--clips_per_shard", type=PositiveInt, default=1000, help="Clips in each shard.")
    parser.add_argument("--part", type=str, help="K/N: compute only part K, from 0, of N; the last one makes it whole.")
    data, arguments = data_and_arguments(parser, args)
    if arguments.part is not None:
        if arguments.check or arguments.shards is not None:
            raise ValueError("--part computes a share of the files: leave --check and --shards to a run without it")
        return _prepare_part(data, parse_part(arguments.part))
    if arguments.check and arguments.shards is not None:
        raise ValueError("--check stores nothing: leave out one of --check and --shards")
    if arguments.shards is not None:
        folder = new_shard_folder(arguments.shards, arguments.overwrite)
        found = report(data.loaded, data.pipeline)
        num = write_shards(data.loaded, data.pipeline, folder, arguments.clips_per_shard)
        return DataReport([*found.lines, f"{num} shards in {folder}"], found.good)
    if not arguments.check:
        return report(data.loaded, data.pipeline)
    data.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.cache) as temporary:  # where there is room for such data
        data.cache = Path(temporary)
        found = report(data.loaded, data.pipeline)
    checked = DataReport(found.lines[:-1], found.good)  # nothing is stored
    if checked.good:
        return checked
    print(printable(str(checked)))
    raise SystemExit(1)


def _prepare_part(data: SpectrogramData, part: Part) -> DataReport:
    """Compute a part of the spectrograms, and put all together where it is the last."""
    clips = data.dataset.scan(data.root)
    paths = sound_files(clips)
    built = cached_part(part, paths, pipeline_for(clips, data.pipeline), data.cache, data.num_workers, progress=True)
    did = "computed" if built.computed else "were there"
    lines = [f"Part {part}: {len(part.take(paths))} of {len(paths)} files {did}, {len(built.left_out)} left out"]
    lines += [f"  {paths[index]}: {reason}" for index, reason in built.left_out.items()]
    if built.whole is not None:
        lines.append(f"Whole: {len(paths)} files in {built.whole.folder}")
    else:
        lines.append(f"Waiting for parts {', '.join(map(str, built.missing))}")
    return DataReport(lines, good=not built.left_out)
