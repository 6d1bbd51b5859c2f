"""Stored spectrograms: built once for a set of files and a pipeline, shared by all processes on a machine.

A store is named by the fingerprint of the content of the files, the settings of transform and preprocessing, and the
source code of both (`audiogen.fingerprint`). So a changed file, setting or version is another store, and none is ever
stale. A store is built beside its place, under a lock, and moved there when it is whole; a build that was stopped goes
on. Machines that share the folder can build parts of it, which lie in a folder beside its place until the last one puts
them together.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.digests import file_digests, file_state
from audiogen.data.parts import Part, part_names, stored_files, usable_parts
from audiogen.data.pipeline import Pipeline, Processed, process_all
from audiogen.data.store import SpectrogramStore, StoreWriter
from audiogen.fingerprint import UNREADABLE, fingerprint, settings


def cache_folder() -> Path:
    """Return the folder of all that is made once and kept: $AUDIOGEN_CACHE or else ~/.cache/audiogen.

    Raises:
        DatasetError: Where there is no home folder.
    """
    try:
        folder = Path(os.environ.get("AUDIOGEN_CACHE") or "~/.cache/audiogen").expanduser()
    except RuntimeError as error:
        raise DatasetError("no home folder to keep data in: set HOME or AUDIOGEN_CACHE, or use --data.cache") from error
    if os.environ.get("HOME") == "" and not os.environ.get("AUDIOGEN_CACHE"):
        raise DatasetError("HOME is empty: set HOME or AUDIOGEN_CACHE, or use --data.cache")
    return folder


def cached_store(
    paths: Sequence[Path], pipeline: Pipeline, folder: Path, num_workers: int, progress: bool = False
) -> SpectrogramStore:
    """Open the store of a set of files, after building it where it is missing.

    Args:
        paths: The files, in the order of the store's.
        pipeline: How they become spectrograms.
        folder: Of all stores.
        num_workers: Processes that build.
        progress: Show a progress bar on a terminal.

    Raises:
        OSError: Where the folder cannot be written, or a file changed while it was read.
    """
    return _whole(_job(paths, pipeline, folder, num_workers, progress))


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
    part: Part, paths: Sequence[Path], pipeline: Pipeline, folder: Path, num_workers: int, progress: bool = False
) -> BuiltPart:
    """Build one part of a store where it is missing, and the whole store where no other part is.

    The arguments are those of `cached_store`, of which the parts together give the same bytes.

    Raises:
        OSError: As `cached_store`.
    """
    job = _job(paths, pipeline, folder, num_workers, progress)
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


def store_key(digests: Sequence[str], pipeline: Pipeline) -> str:
    """Return the name of a store, which differs where anything that decides its content does."""
    return fingerprint("\n".join(digests).encode(), pipeline, without=pipeline.transform.phase)


def definition(pipeline: Pipeline) -> Any:
    """Return the settings of a pipeline as plain values. The phase method is left out: it does not affect the store."""
    return settings(pipeline, without=pipeline.transform.phase)


_EFFECTIVE = os.access in os.supports_effective_ids
# What `audio.io` says where the file system failed, not the sound: it may be otherwise the next moment.
_PASSING = frozenset(
    f"unreadable ({reason})"
    for reason in ("no such file", "broken symbolic link", "no read permission", "System error")
)


@dataclass(frozen=True)
class _Job:
    """Files that a store is built of, how, and where.

    Attributes:
        folder: Of all stores.
        place: Of the store of all files.
    """

    paths: Sequence[Path]
    digests: Sequence[str]
    pipeline: Pipeline
    folder: Path
    place: Path
    num_workers: int
    progress: bool

    @property
    def parts(self) -> Path:
        return self.place.with_name(f"{self.place.name}.parts")


def _job(paths: Sequence[Path], pipeline: Pipeline, folder: Path, num_workers: int, progress: bool) -> _Job:
    """Return what there is to build.

    Raises:
        DatasetError: Where the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, f"it cannot be made ({error.strerror})") from error
    digests = file_digests(paths, folder)
    return _Job(paths, digests, pipeline, folder, folder / store_key(digests, pipeline), num_workers, progress)


def _whole(job: _Job) -> SpectrogramStore:
    """Open the store of all files; where it is missing, build it of the parts that are there and the other files."""
    rebuild = partial(_rebuild, job)
    if (store := _open(job.place, rebuild)) is None:
        with _locked(job.place):
            if (store := _open(job.place, rebuild)) is None:  # no other process has built it meanwhile
                _build(job, job.place, usable_parts(job.parts, job.digests))
                store = SpectrogramStore(job.place, rebuild)
    if job.parts.exists():
        shutil.rmtree(job.parts, ignore_errors=True)
    return store


def _rebuild(job: _Job) -> None:
    """Build a store again in which damage was found, unless another process has done so."""
    with _locked(job.place):
        store = _open(job.place)
        if store is None or not store.is_whole():
            _build(job, job.place, parts={})


def _built_part(job: _Job, part: Part) -> tuple[bool, SpectrogramStore | None]:
    """Return whether a part had to be computed, and its store; None where the whole store came before it."""
    _check_folder(job.folder)
    job.parts.mkdir(exist_ok=True)
    place = job.parts / part.name
    with _locked(place):
        if _open(job.place) is not None:
            return False, None
        if (store := _open(place)) is not None:
            return False, store
        _build(replace(job, paths=part.take(job.paths), digests=part.take(job.digests)), place, parts={})
        return True, _open(place)


def _build(job: _Job, place: Path, parts: Mapping[Part, SpectrogramStore]) -> None:
    """Build a store beside its place and move it there; files that are in a part are taken from it.

    Whatever stops the build, the next one goes on with the files that are done.

    Raises:
        OSError: Where a file changed while it was read.
        DatasetError: Where something is in the way of the result, before anything is computed.
    """
    _clear(place)
    unfinished = place.with_name(f"{place.name}.unfinished")
    states = [file_state(path) for path in job.paths]
    try:
        writer = StoreWriter(unfinished, job.pipeline.transform.shape[:2], job.digests, states)
    except OSError as error:
        raise _unusable(unfinished, f"it cannot be written ({error.strerror})") from error
    fresh = _write(job, writer, parts)
    now = file_digests([job.paths[index] for index in fresh], job.folder)
    if changed := [job.paths[index] for index, digest in zip(fresh, now, strict=True) if job.digests[index] != digest]:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(f"{len(changed)} sound files changed while they were read, such as {changed[0]}: start again")
    for path in unfinished.iterdir():  # after a power cut, a name must not stand for what never came to the disk
        with path.open("rb") as file:
            os.fsync(file.fileno())
    unfinished.rename(place)


def _write(job: _Job, writer: StoreWriter, parts: Mapping[Part, SpectrogramStore]) -> list[int]:
    """Add the files that are not in a store yet, and close it; return the files that are in none of the parts."""
    total, done = next((part.total for part in parts), 1), writer.num_files
    stored = {
        part.index: islice(stored_files(store), len(range(part.index, done, total)), None)
        for part, store in parts.items()
    }
    fresh = [index for index in range(len(job.paths)) if index % total not in stored]
    left = [index for index in fresh if index >= done]
    paths, digests = [job.paths[index] for index in left], [job.digests[index] for index in left]
    bar = tqdm(
        total=len(fresh),
        initial=len(fresh) - len(left),
        desc="Reading sounds",
        unit="file",
        disable=None if job.progress else True,
    )
    with bar, closing(process_all(paths, job.pipeline, job.num_workers, bar.update)) as files:
        computed = _readable(files, paths, digests)
        for index in range(done, len(job.paths)):
            writer.add(*next(stored.get(index % total, computed)))
    writer.close()
    return fresh


def _locked(place: Path) -> FileLock:
    """Return a lock on a store that is to be built.

    Raises:
        DatasetError: Where it cannot be.
    """
    _check_folder(place.parent)
    lock = Path(f"{place}.lock")
    if lock.exists() and not os.access(lock, os.W_OK, effective_ids=_EFFECTIVE):
        raise _unusable(lock, f"it belongs to {_owner(lock)} and cannot be written")
    return FileLock(lock)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that nothing can be written to, before anything is computed for it."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        raise _unusable(folder, f"it belongs to {_owner(folder)} and cannot be written")


def _clear(place: Path) -> None:
    """Remove a damaged store; the build would find out at its end that it is in the way."""
    if not os.path.lexists(place):
        return
    warnings.warn(f"{place} is damaged. Rebuilding the spectrograms", stacklevel=2)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink()
    if place.exists():
        raise _unusable(place, f"it belongs to {_owner(place)}, is damaged and cannot be removed")


def _unusable(path: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"cannot use the cache {path}: {reason}. Name another folder with --data.cache or $AUDIOGEN_CACHE"
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return "another user"


def _readable(files: Iterator[Processed], paths: Sequence[Path], digests: Sequence[str]) -> Iterator[Processed]:
    """Pass files on, unless one could be read for its digest and not for its sound: that would be kept for good.

    Raises:
        OSError: For such a file.
    """
    for processed, path, digest in zip(files, paths, digests, strict=True):
        if processed.record.reason in _PASSING and not digest.startswith(UNREADABLE):
            raise OSError(f"{path} could be read a while ago and is now {processed.record.reason}: start again")
        yield processed


def _open(place: Path, rebuild: Callable[[], object] | None = None) -> SpectrogramStore | None:
    """Return a store, or None where there is none or not a whole one.

    Raises:
        DatasetError: For one that may not be read.
    """
    # A network file system remembers for a while that a name was not there, until the folder above is opened.
    os.scandir(place.parent).close()
    try:
        return SpectrogramStore(place, rebuild)
    except PermissionError as error:
        raise _unusable(place, f"it belongs to {_owner(place)} and cannot be read") from error
    except ValueError:
        return None
