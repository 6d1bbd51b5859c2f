"""Write files atomically: whatever happens meanwhile, a path has either the old content or the new.

All files that the package writes go through this module; `tests/test_writers.py` finds any that do not.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART_PATTERN = ".*.part"  # files being written, and leftovers of killed processes


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that replaces the file at `path` once it is complete.

    The new file has a random name beside `path` and is opened only if that name is free, so no link is followed. If
    `path` is a link, the link is replaced and its target left alone. If writing fails, the old file stays. A killed
    process leaves its partial file behind, with a name that matches `PART_PATTERN`.

    Args:
        path: File to replace. Missing folders are created, and the umask sets permissions.
        durable: Whether to wait until the content is on disk before renaming, so that a power cut leaves the old file
            or the new one. Not needed for sounds and pictures, which can be made again.

    Yields:
        A binary file to write to and seek in.

    Raises:
        OSError: If the file cannot be written, for example on a full disk. It names `path`.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_replaceable(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o666)
    except OSError as error:
        raise _naming(error, path) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        if durable:
            _to_disk(part)
        part.replace(path)
        if durable:
            _to_disk(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise (_naming(error, path) if error.filename in (None, str(part)) else error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def append_text(path: Path, text: str) -> None:
    """Append to a text file, which is created if missing.

    Raises:
        OSError: If the file cannot be written, or is a link, a pipe or a device.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
        with os.fdopen(descriptor, "ab") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "expected a regular file to append to")
            file.write(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        if error.errno == errno.ELOOP:
            error = OSError(errno.ELOOP, "expected a file to append to, got a link")
        raise _naming(error, path) from error


def require_replaceable(path: Path) -> None:
    """Check that a path is free or names a file or link, which can be replaced.

    Raises:
        OSError: If the path is a folder, a device or a pipe.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "expected a file to write, got a folder", str(path))
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EINVAL, "expected a file to write, got a device or a pipe", str(path))


def _naming(error: OSError, path: Path) -> OSError:
    """Return the error with the path that the caller passed."""
    return type(error)(error.errno, error.strerror or str(error), str(path))


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
