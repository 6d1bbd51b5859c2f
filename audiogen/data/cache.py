"""Stored spectrograms: built once for a set of files and a recipe, shared by all processes on a machine.

The key of a store is made of the content of the files and all that decides what is made of them: the settings of the
transform and the preprocessing, and the source code of both. So a changed file, setting or version is another key, and
no store is ever stale. A store is built beside its place, under a lock, and moved there when it is whole. Machines that
share the folder can build parts of it, which lie in a folder beside its place until the last one puts them together.
"""

import hashlib
import inspect
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from filelock import FileLock
from torch import Tensor, nn
from tqdm import tqdm

from audiogen.data.build import Processed, Recipe, process_all
from audiogen.data.dataset import DatasetError
from audiogen.data.parts import Part, part_names, stored_files, usable_parts
from audiogen.data.store import SpectrogramStore, StoreWriter
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.untrusted import is_regular

_OWN_CODE = sorted(
    path
    for pattern in ("audio/*.py", "transforms/*.py", "data/build.py", "data/store.py")
    for path in Path(__file__).parents[1].glob(pattern)
)


_LIBRARIES = ("librosa", "noisereduce", "numpy", "soundfile", "soxr", "torch", "torchaudio")


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
    return _whole(_job(paths, recipe, folder, num_workers, progress))


@dataclass(frozen=True)
class BuiltPart:
    """What became of one part of a store.

    Attributes:
        computed: Whether it was computed now.
        left_out: Why files of this part were left out, by their index in the whole set.
        missing: Parts that are not there yet.
        whole: The whole store, once it is there.
    """

    computed: bool
    left_out: dict[int, str]
    missing: list[int]
    whole: SpectrogramStore | None


def cached_part(
    part: Part, paths: Sequence[Path], recipe: Recipe, folder: Path, num_workers: int, progress: bool = False
) -> BuiltPart:
    """Build one part of a store where it is missing, and the whole store where no other part is.

    The arguments are those of `cached_store`, of which the parts together give the same bytes.

    Raises:
        OSError: As `cached_store`.
    """
    job = _job(paths, recipe, folder, num_workers, progress)
    computed, store = False, None
    if _open(job.place) is None:
        try:
            computed, store = _built_part(job, part)
        except OSError:
            if _open(job.place) is None:
                raise
            # The whole store came to be meanwhile, and the folder of parts went.
    there = part_names(job.parts)
    whole = _open(job.place)  # after the parts are listed: they go once it is there
    missing = [index for index in range(part.total) if whole is None and Part(index, part.total) not in there]
    if not missing:
        whole = _whole(job)
        left_out = {index: reason for index, reason in whole.reasons.items() if index % part.total == part.index}
    else:
        reasons = {} if store is None else store.reasons
        left_out = {part.index + part.total * index: reason for index, reason in reasons.items()}
    return BuiltPart(computed, left_out, missing, whole)


def store_key(digests: Sequence[str], recipe: Recipe) -> str:
    """Return the name of a store, which differs where anything that decides its content does."""
    code = [_file_digest(path) for path in _OWN_CODE] + [_version(name) for name in _LIBRARIES]
    text = json.dumps([list(digests), definition(recipe), code])
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
    if isinstance(thing, FunctionType | type):
        return [f"{thing.__module__}.{thing.__qualname__}", _source(thing)]
    kind = type(thing)
    if not hasattr(thing, "__dict__"):
        return [f"{kind.__module__}.{kind.__qualname__}", repr(thing)]
    foreign = [_source(base) for base in kind.__mro__ if not base.__module__.startswith(_KNOWN_CODE)]
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
    names = [os.fsencode(path.absolute()) for path in paths]
    known = _recall(names, folder / _MEMORY)
    fresh = [i for i, row in enumerate(known) if row is None or row[0] != states[i]]
    with ThreadPoolExecutor() as pool:
        computed = dict(zip(fresh, pool.map(_file_digest, [paths[i] for i in fresh]), strict=True))
    rows = [(names[i], states[i], digest) for i, digest in computed.items() if not digest.startswith(_UNREADABLE)]
    _remember(rows, folder / _MEMORY)
    return [computed[i] if row is None or i in computed else row[1] for i, row in enumerate(known)]


_MEMORY = "digests.sqlite"
_UNREADABLE = "unreadable"
# What `audio.io` says where the file system failed, not the sound: it may be otherwise the next moment.
_PASSING = frozenset(
    f"unreadable ({reason})" for reason in ("no such file", "a link to nothing", "no read permission", "System error")
)
_KNOWN_CODE = ("audiogen.", "builtins", "abc", "torch.")
_MODULE_INTERNALS = frozenset(vars(nn.Module()))


def _recall(names: Sequence[bytes], memory: Path) -> list[tuple[str, str] | None]:
    """Return what is remembered of each file, its state and its digest; nothing where the memory cannot be read."""
    if not memory.exists():
        return [None] * len(names)
    try:
        with closing(sqlite3.connect(memory, timeout=60)) as connection:
            find = "SELECT state, digest FROM digest WHERE path = ?"
            return [connection.execute(find, (name,)).fetchone() for name in names]
    except sqlite3.Error:
        return [None] * len(names)


def _remember(rows: Sequence[tuple[bytes, str, str]], memory: Path) -> None:
    """Remember path, state and digest of files; where that cannot be, they are computed again another time."""
    if not rows:
        return
    try:
        with closing(sqlite3.connect(memory, timeout=60)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS digest (path BLOB PRIMARY KEY, state TEXT, digest TEXT)")
            connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", rows)
    except sqlite3.OperationalError:  # read-only
        return
    except sqlite3.DatabaseError:  # damaged
        memory.unlink(missing_ok=True)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class _Job:
    """Files that a store is built of, how, and where.

    Attributes:
        folder: Of all stores.
        place: Of the store of all files.
    """

    paths: Sequence[Path]
    digests: Sequence[str]
    recipe: Recipe
    folder: Path
    place: Path
    num_workers: int
    progress: bool

    @property
    def parts(self) -> Path:
        return self.place.with_name(f"{self.place.name}.parts")


def _job(paths: Sequence[Path], recipe: Recipe, folder: Path, num_workers: int, progress: bool) -> _Job:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"no cache in {folder} ({error.strerror}): name another folder with --data.cache") from error
    digests = file_digests(paths, folder)
    return _Job(paths, digests, recipe, folder, folder / store_key(digests, recipe), num_workers, progress)


def _whole(job: _Job) -> SpectrogramStore:
    """Open the store of all files; where it is missing, build it of the parts that are there and the other files."""
    if (store := _open(job.place)) is None:
        with FileLock(f"{job.place}.lock"):
            if (store := _open(job.place)) is None:  # no other process has built it meanwhile
                _build(job, job.place, usable_parts(job.parts, job.digests))
                store = SpectrogramStore(job.place)
    if job.parts.exists():
        shutil.rmtree(job.parts, ignore_errors=True)
    return store


def _built_part(job: _Job, part: Part) -> tuple[bool, SpectrogramStore | None]:
    """Return whether a part had to be computed, and its store; None where the whole store came before it."""
    job.parts.mkdir(exist_ok=True)
    place = job.parts / part.name
    with FileLock(f"{place}.lock"):
        if _open(job.place) is not None:
            return False, None
        if (store := _open(place)) is not None:
            return False, store
        _build(replace(job, paths=part.take(job.paths), digests=part.take(job.digests)), place, parts={})
        return True, _open(place)


def _build(job: _Job, place: Path, parts: Mapping[Part, SpectrogramStore]) -> None:
    """Build a store beside its place and move it there; files that are in a part are taken from it.

    Raises:
        OSError: Where a file changed while it was read.
    """
    unfinished = place.with_name(f"{place.name}.unfinished")
    for leftover in (place, unfinished):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _write(job, unfinished, parts)
        for path in unfinished.iterdir():  # after a power cut, a name must not stand for what never came to the disk
            with path.open("rb") as file:
                os.fsync(file.fileno())
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(place)


def _write(job: _Job, folder: Path, parts: Mapping[Part, SpectrogramStore]) -> None:
    total = next((part.total for part in parts), 1)
    stored = {part.index: stored_files(store) for part, store in parts.items()}
    fresh = [index for index in range(len(job.paths)) if index % total not in stored]
    paths, digests = [job.paths[index] for index in fresh], [job.digests[index] for index in fresh]
    shape = job.recipe.transform.shape
    writer = StoreWriter(folder, (shape[0], shape[1]), job.digests)
    with tqdm(total=len(paths), desc="Reading sounds", unit="file", disable=None if job.progress else True) as bar:
        computed = _readable(process_all(paths, job.recipe, job.num_workers, bar.update), paths, digests)
        for index in range(len(job.paths)):
            writer.add(*next(stored.get(index % total, computed)))
        assert next(computed, None) is None  # and the processes end
    writer.close()
    now = file_digests(paths, job.folder)
    if changed := [path for path, old, new in zip(paths, digests, now, strict=True) if old != new]:
        raise OSError(f"{len(changed)} sound files changed while they were read, such as {changed[0]}: start again")


def _readable(files: Iterator[Processed], paths: Sequence[Path], digests: Sequence[str]) -> Iterator[Processed]:
    """Pass files on, unless one could be read for its digest and not for its sound: that would be kept for good.

    Raises:
        OSError: For such a file.
    """
    for processed, path, digest in zip(files, paths, digests, strict=True):
        if processed.record.reason in _PASSING and not digest.startswith(_UNREADABLE):
            raise OSError(f"{path} could be read a while ago and is now {processed.record.reason}: start again")
        yield processed


def _open(place: Path) -> SpectrogramStore | None:
    """Return a store, or None where there is none or not a whole one."""
    # A network file system remembers for a while that a name was not there, until the folder above is opened.
    os.scandir(place.parent).close()
    try:
        return SpectrogramStore(place)
    except ValueError:
        return None


def _state(path: Path) -> str:
    """Return what changes when a file does: size, times of change of content and of the file, and its number."""
    try:
        stat = path.stat()
    except OSError as error:
        return f"{_UNREADABLE}: {error.errno}"
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {stat.st_dev}"


def _file_digest(path: Path) -> str:
    if path.exists() and not is_regular(path):  # it may have no end
        return f"{_UNREADABLE}: not a regular file"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{_UNREADABLE}: {error.errno}"


def _source(thing: FunctionType | type) -> str:
    """Return a digest of the file that defines a class or a function; nothing where there is none."""
    try:
        return _file_digest(Path(inspect.getfile(thing)))
    except (OSError, TypeError):
        return ""
