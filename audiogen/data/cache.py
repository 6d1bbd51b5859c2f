"""Build stored spectrograms once per set of files and pipeline, and share them between all processes of a machine.

A store is named by a fingerprint of the files' content, the settings of the transform and the preprocessing, and their
source code (`audiogen.fingerprint`). Any change of a file, a setting or the code gives another name, so no store is
ever stale.

A store is built beside its final path, under a lock, and renamed once it is complete. An interrupted build continues.
Machines that share the folder can each build one part; the parts are kept in a folder beside the final path until the
last machine merges them.
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
    """Return the folder of everything that is computed once and kept: $AUDIOGEN_CACHE or else ~/.cache/audiogen.

    Raises:
        DatasetError: If there is no home folder.
    """
    try:
        folder = Path(os.environ.get("AUDIOGEN_CACHE") or "~/.cache/audiogen").expanduser()
    except RuntimeError as error:
        raise DatasetError("no home folder for the cache: set HOME or AUDIOGEN_CACHE, or use --data.cache") from error
    if os.environ.get("HOME") == "" and not os.environ.get("AUDIOGEN_CACHE"):
        raise DatasetError("HOME is empty: set HOME or AUDIOGEN_CACHE, or use --data.cache")
    return folder


def cached_store(
    paths: Sequence[Path], pipeline: Pipeline, folder: Path, num_workers: int, progress: bool = False
) -> SpectrogramStore:
    """Open the store of a set of files, after building it if it is missing.

    Args:
        paths: Audio files, in the order of the store.
        pipeline: How they become spectrograms.
        folder: Folder of all stores.
        num_workers: Number of processes that build the store.
        progress: Show a progress bar on a terminal.

    Raises:
        DatasetError: If the folder cannot be used.
        OSError: If a file changed while it was read.
    """
    return _whole(_job(paths, pipeline, folder, num_workers, progress))


@dataclass(frozen=True)
class BuiltPart:
    """State of one part of a store after building it.

    Attributes:
        computed: Whether the part was computed now.
        left_out: Reason for each file of this part that is left out, by its index in the whole set.
        missing: Indices of the parts that do not exist yet.
        whole: The whole store, if it is complete.
    """

    computed: bool
    left_out: dict[int, str]
    missing: list[int]
    whole: SpectrogramStore | None


def cached_part(
    part: Part, paths: Sequence[Path], pipeline: Pipeline, folder: Path, num_workers: int, progress: bool = False
) -> BuiltPart:
    """Build one part of a store if it is missing, and the whole store if no other part is missing.

    All parts together give the same bytes as `cached_store`.

    Args:
        part: Part to build.
        paths: Audio files of the whole set; see `cached_store` for this and the other arguments.
        pipeline: How they become spectrograms.
        folder: Folder of all stores.
        num_workers: Number of processes that build the part.
        progress: Show a progress bar on a terminal.

    Raises:
        DatasetError: As in `cached_store`.
        OSError: As in `cached_store`.
    """
    job = _job(paths, pipeline, folder, num_workers, progress)
    computed, store = False, None
    if _open(job.target) is None:
        try:
            computed, store = _built_part(job, part)
        except OSError:
            if _open(job.target) is None:
                raise
            # Another process has completed the whole store meanwhile and deleted the parts.
    existing = part_names(job.parts)
    whole = _open(job.target)  # after listing the parts, which are deleted once it exists
    missing = [index for index in range(part.total) if whole is None and Part(index, part.total) not in existing]
    if not missing:
        whole = _whole(job)
        left_out = {index: reason for index, reason in whole.reasons.items() if index % part.total == part.index}
    else:
        reasons = {} if store is None else store.reasons
        left_out = {part.index + part.total * index: reason for index, reason in reasons.items()}
    return BuiltPart(computed, left_out, missing, whole)


def store_key(digests: Sequence[str], pipeline: Pipeline) -> str:
    """Return the name of a store, which depends on everything that determines its content."""
    return fingerprint("\n".join(digests).encode(), pipeline, without=pipeline.transform.phase)


def definition(pipeline: Pipeline) -> Any:
    """Return the settings of a pipeline as plain values, without the phase method, which does not affect the store."""
    return settings(pipeline, without=pipeline.transform.phase)


_EFFECTIVE = os.access in os.supports_effective_ids
# Reasons given by `audio.io` if the file system failed, not the audio file; the next attempt may succeed.
_TRANSIENT = frozenset(
    f"unreadable ({reason})"
    for reason in ("no such file", "broken symbolic link", "no read permission", "System error")
)


@dataclass(frozen=True)
class _Job:
    """A store to build.

    Attributes:
        paths: Audio files.
        digests: Digest of each file's content.
        pipeline: How the files become spectrograms.
        folder: Folder of all stores.
        target: Final path of the store of all files.
        num_workers: Number of processes that build the store.
        progress: Whether to show a progress bar.
    """

    paths: Sequence[Path]
    digests: Sequence[str]
    pipeline: Pipeline
    folder: Path
    target: Path
    num_workers: int
    progress: bool

    @property
    def parts(self) -> Path:
        return self.target.with_name(f"{self.target.name}.parts")


def _job(paths: Sequence[Path], pipeline: Pipeline, folder: Path, num_workers: int, progress: bool) -> _Job:
    """Return the store to build.

    Raises:
        DatasetError: If the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, f"it cannot be created ({error.strerror})") from error
    digests = file_digests(paths, folder)
    return _Job(paths, digests, pipeline, folder, folder / store_key(digests, pipeline), num_workers, progress)


def _whole(job: _Job) -> SpectrogramStore:
    """Open the store of all files. If it is missing, build it from the existing parts and the remaining files."""
    rebuild = partial(_rebuild, job)
    if (store := _open(job.target, rebuild)) is None:
        with _locked(job.target):
            if (store := _open(job.target, rebuild)) is None:  # not built by another process meanwhile
                _build(job, job.target, usable_parts(job.parts, job.digests))
                store = SpectrogramStore(job.target, rebuild)
    if job.parts.exists():
        shutil.rmtree(job.parts, ignore_errors=True)
    return store


def _rebuild(job: _Job) -> None:
    """Rebuild a store in which damage was found, unless another process has already done so."""
    with _locked(job.target):
        store = _open(job.target)
        if store is None or not store.is_whole():
            _build(job, job.target, parts={})


def _built_part(job: _Job, part: Part) -> tuple[bool, SpectrogramStore | None]:
    """Return whether a part had to be computed, and its store, or None if the whole store exists already."""
    _check_folder(job.folder)
    job.parts.mkdir(exist_ok=True)
    target = job.parts / part.name
    with _locked(target):
        if _open(job.target) is not None:
            return False, None
        if (store := _open(target)) is not None:
            return False, store
        _build(replace(job, paths=part.take(job.paths), digests=part.take(job.digests)), target, parts={})
        return True, _open(target)


def _build(job: _Job, target: Path, parts: Mapping[Part, SpectrogramStore]) -> None:
    """Build a store beside its final path and rename it. Files in one of the parts are copied from there.

    An interrupted build keeps the files that are done, and the next build continues from there.

    Raises:
        OSError: If a file changed while it was read.
        DatasetError: If the target is blocked. This is checked before anything is computed.
    """
    _clear(target)
    unfinished = target.with_name(f"{target.name}.unfinished")
    states = [file_state(path) for path in job.paths]
    try:
        writer = StoreWriter(unfinished, job.pipeline.transform.shape[:2], job.digests, states)
    except OSError as error:
        raise _unusable(unfinished, f"it cannot be written ({error.strerror})") from error
    fresh = _write(job, writer, parts)
    now = file_digests([job.paths[index] for index in fresh], job.folder)
    if changed := [job.paths[index] for index, digest in zip(fresh, now, strict=True) if job.digests[index] != digest]:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(f"{len(changed)} audio files changed while they were read, such as {changed[0]}: start again")
    for path in unfinished.iterdir():  # a power cut after the rename must not leave incomplete files
        with path.open("rb") as file:
            os.fsync(file.fileno())
    unfinished.rename(target)


def _write(job: _Job, writer: StoreWriter, parts: Mapping[Part, SpectrogramStore]) -> list[int]:
    """Add the files missing from the store and close it; return the indices of the files that are in no part."""
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
        desc="Computing spectrograms",
        unit="file",
        disable=None if job.progress else True,
    )
    with bar, closing(process_all(paths, job.pipeline, job.num_workers, bar.update)) as files:
        computed = _readable(files, paths, digests)
        for index in range(done, len(job.paths)):
            writer.add(*next(stored.get(index % total, computed)))
    writer.close()
    return fresh


def _locked(target: Path) -> FileLock:
    """Return a lock for building a store.

    Raises:
        DatasetError: If the lock cannot be used.
    """
    _check_folder(target.parent)
    lock = Path(f"{target}.lock")
    if lock.exists() and not os.access(lock, os.W_OK, effective_ids=_EFFECTIVE):
        raise _unusable(lock, f"it belongs to {_owner(lock)} and cannot be written")
    return FileLock(lock)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, before anything is computed.

    Raises:
        DatasetError: If the folder cannot be written.
    """
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        raise _unusable(folder, f"it belongs to {_owner(folder)} and cannot be written")


def _clear(target: Path) -> None:
    """Remove a damaged store, which would otherwise block the result at the end of the build.

    Raises:
        DatasetError: If it cannot be removed.
    """
    if not os.path.lexists(target):
        return
    warnings.warn(f"{target} is damaged. Rebuilding the spectrograms", stacklevel=2)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target, ignore_errors=True)
    else:
        target.unlink()
    if target.exists():
        raise _unusable(target, f"it belongs to {_owner(target)}, is damaged and cannot be removed")


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
    """Pass on files, unless one was readable for its digest but not for its sound, which would be stored for good.

    Raises:
        OSError: For such a file.
    """
    for processed, path, digest in zip(files, paths, digests, strict=True):
        if processed.record.reason in _TRANSIENT and not digest.startswith(UNREADABLE):
            raise OSError(f"{path} was readable before and is now {processed.record.reason}: start again")
        yield processed


def _open(target: Path, rebuild: Callable[[], object] | None = None) -> SpectrogramStore | None:
    """Return a store, or None if it does not exist or is incomplete.

    Raises:
        DatasetError: If it may not be read.
    """
    # Network file systems cache for a while that a name does not exist. Opening the parent folder refreshes that.
    os.scandir(target.parent).close()
    try:
        return SpectrogramStore(target, rebuild)
    except PermissionError as error:
        raise _unusable(target, f"it belongs to {_owner(target)} and cannot be read") from error
    except ValueError:
        return None
