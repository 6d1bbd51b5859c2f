"""Unpack an untrusted tar archive into its own folder, within limits on size and number of files."""

import gzip
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.data.datasets.dataset import DatasetError
from audiogen.untrusted import is_regular

MAX_HEADER = 1 << 20  # bytes before each file; tarfile reads extended headers into memory
_GZIP = b"\x1f\x8b"


def unpack(archive: Path, folder: Path, max_bytes: int, max_files: int) -> None:
    """Unpack a tar file, plain or gzip-compressed, into a new folder.

    Links, sparse files and absolute paths are refused, in addition to everything that `tarfile`'s data filter refuses.
    Limits apply to the decompressed bytes while they are read. The folder appears once it is complete.

    Args:
        archive: Path of the archive.
        folder: Target folder, which must not exist. Missing parent folders are created.
        max_bytes: Maximum total size after decompression, headers included.
        max_files: Maximum number of files and folders.

    Raises:
        DatasetError: If the archive is damaged, is not an archive, exceeds a limit, or contains anything but files and
            folders inside its own folder. Everything unpacked so far is removed.
    """
    try:
        if not is_regular(archive):
            raise tarfile.ReadError("expected a regular file")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Only this user can enter the temporary folder, so nobody else can plant a link in it.
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder.parent) as private:
            part = Path(private) / folder.name
            part.mkdir()
            with archive.open("rb") as file:
                plain: Any = gzip.GzipFile(fileobj=file) if file.read(2) == _GZIP else file
                file.seek(0)
                _extract(LimitedStream(plain, max_bytes), part, max_files)
            part.rename(folder)
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise DatasetError(f"{archive} cannot be unpacked: {error}") from error


class LimitedStream:
    """A stream for `tarfile` that raises an error if too much is read, at once or in total.

    `tarfile` reads extended headers into memory, whatever size they claim.

    Args:
        stream: The decompressed archive.
        max_bytes: Maximum number of bytes to read in total.

    Attributes:
        left_now: Bytes that may be read before the caller resets this value: a header, or a file and the next header.
    """

    def __init__(self, stream: Any, max_bytes: int) -> None:
        self.stream, self.max_bytes = stream, max_bytes
        self.left, self.left_now = max_bytes, MAX_HEADER

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            tarfile.ReadError: If a limit is exceeded.
        """
        data: bytes = self.stream.read(size)
        self.left, self.left_now = self.left - len(data), self.left_now - len(data)
        if self.left < 0:
            raise tarfile.ReadError(f"it exceeds the expected {self.max_bytes} bytes")
        if self.left_now < 0:
            raise tarfile.ReadError(f"a header in it exceeds {MAX_HEADER} bytes")
        return data


def _extract(stream: LimitedStream, folder: Path, max_files: int) -> None:
    number = 0
    file: Any = stream
    with tarfile.open(fileobj=file, mode="r|") as archive:
        while (member := archive.next()) is not None:
            number += 1
            if number > max_files:
                raise tarfile.ReadError(f"it contains more than the expected {max_files} files")
            _check(member)
            stream.left_now = member.size + MAX_HEADER
            archive.extract(member, folder, filter="data")
            stream.left_now = MAX_HEADER


def _check(member: tarfile.TarInfo) -> None:
    """Refuse members that a data set does not need."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.sparse is not None:
        raise tarfile.ReadError(f"{member.name!r} in it is neither a regular file nor a folder")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.ReadError(f"{member.name!r} in it points outside its folder")
