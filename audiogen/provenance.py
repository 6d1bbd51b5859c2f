"""Distinguish this user's runs from runs of others: `fit` signs the config that it writes.

A run's config.yaml contains the paths of its data and weights. In the user's own runs these are right. In others' runs
they could name private sounds, or folders to fill. The signature is an HMAC with a random key that never leaves the
cache folder. If the key is lost, runs signed with it count as runs of others.
"""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from audiogen.atomic import replacing
from audiogen.data.cache import cache_folder
from audiogen.untrusted import MAX_TEXT, UntrustedFileError, read_inside

_COMMENT = "# written by fit of this user: "
_KEY_BYTES = 32


def signed(text: str) -> str:
    """Return a config preceded by its signature in a comment, or unchanged if no key can be stored."""
    key = _key(make=True)
    return text if key is None else f"{_COMMENT}{_digest(key, text.encode(errors='surrogateescape'))}\n{text}"


def is_own(config: Path) -> bool:
    """Return whether this user's `fit` wrote a config in its current state."""
    try:
        first, _, content = read_inside(config.parent, config.name, MAX_TEXT).partition(b"\n")
    except (OSError, UntrustedFileError):
        return False
    key = _key(make=False)
    return key is not None and hmac.compare_digest(first, f"{_COMMENT}{_digest(key, content)}".encode())


def _digest(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """Return the user's key, or None if it does not exist or others could have read or planted it."""
    folder = cache_folder()
    path = folder / f"key-{os.getuid()}"
    try:
        if make and not path.exists():
            with replacing(path) as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(secrets.token_hex(_KEY_BYTES).encode())
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        return path.read_bytes() if found.st_size == 2 * _KEY_BYTES else None
    except OSError:
        return None
