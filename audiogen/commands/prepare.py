"""Compute and store the spectrograms of a data set before training, and report on the data: the command prepare."""

import tempfile
from pathlib import Path

from jsonargparse.typing import PositiveInt

from audiogen.data.cache import cached_part
from audiogen.data.loading import pipeline_for, sound_files
from audiogen.data.module import SpectrogramData
from audiogen.data.parts import Part, parse_part
from audiogen.data.report import DataReport, report
from audiogen.data.shards import new_shard_folder, write_shards
from audiogen.terminal import printable


def prepare(
    data: SpectrogramData,
    check: bool = False,
    shards: str | None = None,
    clips_per_shard: PositiveInt = 1000,
    part: str | None = None,
    overwrite: bool = False,
) -> DataReport:
    """Compute the spectrograms of a data set, store them for training, and report on the data.

    Args:
        data: The data module.
        check: Read every file again, store nothing, and exit with status 1 if a file is left out.
        shards: Folder for WebDataset shards, to train on with --data.shards.
        clips_per_shard: Clips in each shard.
        part: K/N computes only part K (from 0) of N. The last part to finish assembles the whole.
        overwrite: Replace earlier shards in the folder.

    Returns:
        The report.

    Raises:
        SystemExit: With status 1 if the check finds a file that is left out.
        ValueError: If the options contradict each other.
    """
    if part is not None:
        if check or shards is not None:
            raise ValueError("--part computes only some of the files: run --check and --shards without it")
        return _prepare_part(data, parse_part(part))
    if check and shards is not None:
        raise ValueError("--check stores nothing: leave out one of --check and --shards")
    if shards is not None:
        folder = new_shard_folder(shards, overwrite)
        found = report(data.loaded, data.pipeline)
        num = write_shards(data.loaded, data.pipeline, folder, clips_per_shard)
        return DataReport([*found.lines, f"{num} shards in {folder}"], found.good)
    if not check:
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
