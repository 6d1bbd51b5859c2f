"""Digests of the content of sound files, remembered until a file changes."""

import os
import sqlite3
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from audiogen.fingerprint import UNREADABLE, file_digest

_MEMORY = "digests.sqlite"


def file_digests(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return a digest of the content of each file; those of files that did not change since are remembered.

    Args:
        paths: The files. One that cannot be read gets a digest of its own kind.
        folder: Where the memory is kept.
    """
    states = [file_state(path) for path in paths]
    names = [os.fsencode(path.absolute()) for path in paths]
    known = _recall(names, states, folder / _MEMORY)
    fresh = [i for i, digest in enumerate(known) if digest is None]
    with ThreadPoolExecutor() as pool:
        computed = dict(zip(fresh, pool.map(file_digest, [paths[i] for i in fresh]), strict=True))
    rows = [(names[i], states[i], digest) for i, digest in computed.items() if not digest.startswith(UNREADABLE)]
    _remember(rows, folder / _MEMORY)
    return [computed[i] if digest is None else digest for i, digest in enumerate(known)]


def _recall(names: Sequence[bytes], states: Sequence[str], memory: Path) -> list[str | None]:
    """Return the digest that is remembered of each file in this state, or None, also where it was damaged."""
    if not memory.exists():
        return [None] * len(names)
    try:
        with closing(sqlite3.connect(memory, timeout=60)) as connection:
            find = "SELECT digest FROM digest WHERE path = ? AND state = ?"
            rows = [connection.execute(find, row).fetchone() for row in zip(names, states, strict=True)]
    except sqlite3.Error:
        return [None] * len(names)
    found = [row[0].partition(" ")[0] if row else None for row in rows]
    kept = zip(names, states, found, rows, strict=True)
    return [digest if digest and row[0] == _checked(name, state, digest) else None for name, state, digest, row in kept]


def _checked(name: bytes, state: str, digest: str) -> str:
    """Return a digest with a checksum of its row: SQLite has none."""
    return f"{digest} {zlib.crc32(name + state.encode() + digest.encode())}"


def _remember(rows: Sequence[tuple[bytes, str, str]], memory: Path) -> None:
    """Remember path, state and digest of files; where that cannot be, they are computed again another time."""
    if not rows:
        return
    try:
        with closing(sqlite3.connect(memory, timeout=60)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS digest (path BLOB PRIMARY KEY, state TEXT, digest TEXT)")
            checked = [(name, state, _checked(name, state, digest)) for name, state, digest in rows]
            connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", checked)
    except sqlite3.OperationalError:  # read-only
        return
    except sqlite3.DatabaseError:  # damaged
        memory.unlink(missing_ok=True)


def file_state(path: Path) -> str:
    """Return what changes when a file does: size, times of change of content and of the file, and its number."""
    try:
        stat = path.stat()
    except OSError as error:
        return f"{UNREADABLE}: {error.errno}"
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {stat.st_dev}"
