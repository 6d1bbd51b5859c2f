"""Compute digests of audio files and cache them until a file changes."""

import os
import sqlite3
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from audiogen.fingerprint import UNREADABLE, file_digest

_FILE = "digests.sqlite"


def file_digests(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return a digest of each file's content. Digests of unchanged files come from a cache.

    Args:
        paths: Files. The digest of a file that cannot be read starts with `UNREADABLE`.
        folder: Folder of the cache.
    """
    states = [file_state(path) for path in paths]
    names = [os.fsencode(path.absolute()) for path in paths]
    cached = _read_cached(names, states, folder / _FILE)
    fresh = [i for i, digest in enumerate(cached) if digest is None]
    with ThreadPoolExecutor() as pool:
        computed = dict(zip(fresh, pool.map(file_digest, [paths[i] for i in fresh]), strict=True))
    rows = [(names[i], states[i], digest) for i, digest in computed.items() if not digest.startswith(UNREADABLE)]
    _write_cached(rows, folder / _FILE)
    return [computed[i] if digest is None else digest for i, digest in enumerate(cached)]


def _read_cached(names: Sequence[bytes], states: Sequence[str], database: Path) -> list[str | None]:
    """Return the cached digest of each file in its current state, or None if it is missing or damaged."""
    if not database.exists():
        return [None] * len(names)
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            find = "SELECT digest FROM digest WHERE path = ? AND state = ?"
            rows = [connection.execute(find, row).fetchone() for row in zip(names, states, strict=True)]
    except sqlite3.Error:
        return [None] * len(names)
    found = [row[0].partition(" ")[0] if row else None for row in rows]
    kept = zip(names, states, found, rows, strict=True)
    return [digest if digest and row[0] == _checked(name, state, digest) else None for name, state, digest, row in kept]


def _checked(name: bytes, state: str, digest: str) -> str:
    """Return a digest with a checksum of its row, because SQLite has no checksums."""
    return f"{digest} {zlib.crc32(name + state.encode() + digest.encode())}"


def _write_cached(rows: Sequence[tuple[bytes, str, str]], database: Path) -> None:
    """Cache path, state and digest of files. If the cache cannot be written, they are computed again next time."""
    if not rows:
        return
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS digest (path BLOB PRIMARY KEY, state TEXT, digest TEXT)")
            checked = [(name, state, _checked(name, state, digest)) for name, state, digest in rows]
            connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", checked)
    except sqlite3.OperationalError:  # for example read-only
        return
    except sqlite3.DatabaseError:  # damaged
        database.unlink(missing_ok=True)


def file_state(path: Path) -> str:
    """Return a string that changes when a file does: size, modification and change times, inode and device."""
    try:
        stat = path.stat()
    except OSError as error:
        return f"{UNREADABLE}: {error.errno}"
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {stat.st_dev}"
