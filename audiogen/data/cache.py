"""Stored spectrograms: built once for a set of files and a recipe, shared by all processes on a machine.

The key of a store is made of the content of the files and all that decides what is made of them: the settings of the
transform and the preprocessing, and the source code of both. So a changed file, setting or version is another key, and
no store is ever stale. A store is built beside its place, under a lock, and moved there when it is whole.
"""

import hashlib
import inspect
import json
import os
import shutil
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from torch import Tensor, nn
from tqdm import tqdm

from audiogen.data.build import Recipe, process_all
from audiogen.data.store import SpectrogramStore, StoreWriter
from audiogen.transforms.phase.method import PhaseMethod

_OWN_CODE = sorted(
    path
    for pattern in ("audio/*.py", "transforms/*.py", "data/build.py", "data/store.py")
    for path in Path(__file__).parents[1].glob(pattern)
)


def cache_folder() -> Path:
    """Return the folder of all that is made once and kept: $AUDIOGEN_CACHE or else ~/.cache/audiogen."""
    return Path(os.environ.get("AUDIOGEN_CACHE") or "~/.cache/audiogen").expanduser()


def cached_store(
    paths: Sequence[Path], recipe: Recipe, folder: Path, num_workers: int, progress: bool = False
) -> SpectrogramStore:
    """Open the store of a set of files, after building it where it is missing.

    Args:
        paths: The files, in the order of the store's.
        recipe: How they become spectrograms.
        folder: Of all stores.
        num_workers: Processes that build.
        progress: Show a progress bar on a terminal.

    Raises:
        OSError: Where the folder cannot be written, or a file changed while it was read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = file_digests(paths, folder)
    place = folder / store_key(digests, recipe)
    if (store := _open(place)) is not None:
        return store
    with FileLock(folder / f"{place.name}.lock"):
        if (store := _open(place)) is not None:  # another process has built it meanwhile
            return store
        unfinished = folder / f"{place.name}.unfinished"
        for leftover in (place, unfinished):
            shutil.rmtree(leftover, ignore_errors=True)
        _build(paths, digests, recipe, unfinished, num_workers, progress)
        if file_digests(paths, folder) != digests:
            raise OSError("sound files changed while they were read: start again when nothing writes them")
        unfinished.rename(place)
    return SpectrogramStore(place)


def store_key(digests: Sequence[str], recipe: Recipe) -> str:
    """Return the name of a store, which differs where anything that decides its content does."""
    text = json.dumps([list(digests), definition(recipe), [_file_digest(path) for path in _OWN_CODE]])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def definition(thing: Any) -> Any:
    """Return all settings of an object as plain values: class, attributes, buffers, and the source of a foreign class.

    Phase methods are left out: they decide how sounds are made, not how spectrograms are.
    """
    if isinstance(thing, PhaseMethod):
        return None
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, Path):
        return str(thing)
    if isinstance(thing, Tensor):
        return definition(thing.detach().cpu().numpy())
    if isinstance(thing, np.ndarray):
        return [str(thing.dtype), list(thing.shape), hashlib.sha256(np.ascontiguousarray(thing).data).hexdigest()]
    if isinstance(thing, dict):
        return {str(key): definition(value) for key, value in thing.items()}
    if isinstance(thing, Sequence):
        return [definition(item) for item in thing]
    kind = type(thing)
    foreign = "" if kind.__module__.startswith("audiogen.") else _source(kind)
    state = {key: value for key, value in vars(thing).items() if key not in _MODULE_INTERNALS}
    if isinstance(thing, nn.Module):
        state |= {**dict(thing.named_buffers(recurse=False)), **dict(thing.named_children())}
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "source": foreign, "state": definition(state)}


def file_digests(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return a digest of the content of each file; those of files that did not change since are remembered.

    Args:
        paths: The files. One that cannot be read gets a digest of its own kind.
        folder: Where the memory is kept.
    """
    states = [_state(path) for path in paths]
    names = [str(path.absolute()) for path in paths]
    with closing(sqlite3.connect(folder / "digests.sqlite", timeout=60)) as memory, memory:
        memory.execute("CREATE TABLE IF NOT EXISTS digest (path BLOB PRIMARY KEY, state TEXT, digest TEXT)")
        find = "SELECT state, digest FROM digest WHERE path = ?"
        known = [memory.execute(find, (os.fsencode(name),)).fetchone() for name in names]
    fresh = [i for i, row in enumerate(known) if row is None or row[0] != states[i]]
    with ThreadPoolExecutor() as pool:
        computed = dict(zip(fresh, pool.map(_file_digest, [paths[i] for i in fresh]), strict=True))
    with closing(sqlite3.connect(folder / "digests.sqlite", timeout=60)) as memory, memory:
        rows = [(os.fsencode(names[i]), states[i], digest) for i, digest in computed.items()]
        memory.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", rows)
    return [computed[i] if i in computed else row[1] for i, row in enumerate(known)]


_MODULE_INTERNALS = frozenset(vars(nn.Module()))


def _build(
    paths: Sequence[Path], digests: list[str], recipe: Recipe, folder: Path, num_workers: int, progress: bool
) -> None:
    shape = recipe.transform.shape
    writer = StoreWriter(folder, (shape[0], shape[1]), digests)
    with tqdm(total=len(paths), desc="Reading sounds", unit="file", disable=None if progress else True) as bar:
        for record, pieces in process_all(paths, recipe, num_workers, bar.update):
            writer.add(record, pieces)
    writer.close()


def _open(place: Path) -> SpectrogramStore | None:
    """Return a store, or None where there is none or not a whole one."""
    try:
        return SpectrogramStore(place)
    except ValueError:
        return None


def _state(path: Path) -> str:
    """Return what changes when a file does: size, times of change of content and of the file, and its number."""
    try:
        stat = path.stat()
    except OSError as error:
        return f"unreadable: {error.errno}"
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {stat.st_dev}"


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"


def _source(kind: type) -> str:
    """Return a digest of the file that defines a class; of its name where there is none."""
    try:
        return _file_digest(Path(inspect.getfile(kind)))
    except (OSError, TypeError):
        return ""
