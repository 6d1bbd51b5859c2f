"""Check where commands write: never onto an input, and only into folders that were missing, empty or their own.

An output folder contains a list of the files written there (`MARKER`). With it, a command distinguishes its own files
from the user's, refuses to mix two results, and removes an earlier result on request.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from audiogen.atomic import require_replaceable, write_text
from audiogen.untrusted import UntrustedFileError, read_inside

MARKER = ".audiogen.json"
_MAX_MARKER = 1 << 26  # bytes
_PROBE = 1 << 16  # bytes written and removed to check for free space


class OutputError(ValueError):
    """A path must not or cannot be written. The message tells the user what to do."""


def check_output_file(path: Path, inputs: Iterable[Path] = ()) -> Path:
    """Check that a file can be written, before any work is done for it, and return its path.

    Args:
        path: Output file, which may exist.
        inputs: Files that the command reads. An output with the same inode, through any link, is refused.

    Raises:
        OutputError: If the path is an input, a folder, a device or a pipe, or its folder cannot be written.
    """
    _refuse_inputs([path], inputs)
    try:
        require_replaceable(path)
        _probe(path.parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Name another file") from error
    return path


def check_output_folder(folder: Path, overwrite: bool = False) -> Path:
    """Check that a command may write a new result into a folder, before any work is done for it, and return the folder.

    Args:
        folder: Output folder. It may be missing; it is then created with its first file.
        overwrite: Allow a folder with an earlier result, which `start_output_folder` then removes.

    Raises:
        OutputError: If the folder contains files that audiogen did not write, or an earlier result without `overwrite`,
            or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: name a folder")
    try:
        _probe(folder)
        there = sorted(os.listdir(folder)) if folder.exists() else []
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}. Name another folder") from error
    written = written_files(folder)
    if there and written is None:
        raise OutputError(
            f"{folder} holds files that audiogen did not write there, such as {there[0]}: name a new or empty folder"
        )
    if not overwrite and any(os.path.lexists(folder / name) for name in written or ()):
        raise OutputError(f"{folder} holds an earlier result: name another folder, or replace it with --overwrite")
    return folder


def start_output_folder(folder: Path, names: Sequence[str], inputs: Iterable[Path] = (), keep: bool = False) -> None:
    """Record the files about to be written into a folder, and remove an earlier result of this package.

    Args:
        folder: Folder returned by `check_output_folder`.
        names: Paths of the files below the folder.
        inputs: Files that the command reads.
        keep: Whether to keep earlier files with other names, and their entries in the list.

    Raises:
        OutputError: If a file would replace an input or a user's file, or be written through a link.
    """
    earlier = written_files(folder) or []
    _refuse_inputs([folder / name for name in (*names, *earlier)], inputs)
    for name in names:
        if not _stays_inside(folder, name):
            raise OutputError(
                f"{folder / name} would be written through a link: remove the link, or name another folder"
            )
        if name not in earlier and os.path.lexists(folder / name):
            raise OutputError(f"{folder / name} was not written by audiogen: move it, or name another folder")
    if not keep:
        for name in earlier:
            if _stays_inside(folder, name) and not (folder / name).is_dir():
                (folder / name).unlink(missing_ok=True)
    kept = [name for name in earlier if keep and name not in names]
    write_text(folder / MARKER, json.dumps({"files": [*kept, *names]}, indent=1))


def written_files(folder: Path) -> list[str] | None:
    """Return the files that this package wrote into a folder, or None if it is not an output folder of this package.

    Raises:
        OutputError: If the list is damaged.
    """
    try:
        names = json.loads(read_inside(folder, MARKER, _MAX_MARKER))["files"]
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"expected names, got {names!r:.80}")
    except FileNotFoundError:
        return None
    except (UntrustedFileError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"{folder / MARKER} is damaged ({error}): name another folder") from error
    return list(names)


def _refuse_inputs(outputs: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs that are inputs, compared by device and inode, so also through links."""
    numbers = {number: path for path in inputs if (number := _inode(path)) is not None}
    for path in outputs:
        if (number := _inode(path)) in numbers and number is not None:
            raise OutputError(f"{path} would overwrite the source {numbers[number]}: name another output")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stays_inside(folder: Path, name: str) -> bool:
    """Return whether a path below a folder stays below it, without links on the way to the file."""
    inner = Path(os.path.normpath(folder.resolve() / name))
    return inner.is_relative_to(folder.resolve()) and inner.parent.resolve() == inner.parent


def _probe(folder: Path) -> None:
    """Write and remove a small file in a folder, or in its closest existing parent.

    Raises:
        OSError: If that fails.
    """
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_PROBE))
        file.flush()
        os.fsync(file.fileno())
