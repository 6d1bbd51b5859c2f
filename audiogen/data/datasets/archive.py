"""Unpack a tar archive that came from elsewhere: into its own folder, and not more than was agreed."""

import gzip
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.data.datasets.dataset import DatasetError
from audiogen.untrusted import is_regular

MAX_HEADER = 1 << 20  # bytes before each file: an extended header is read into memory
_GZIP = b"\x1f\x8b"


def unpack(archive: Path, folder: Path, max_bytes: int, max_files: int) -> None:
    """Unpack a tar file, plain or compressed by gzip, into a new folder.

    Beside what `tarfile`'s filter for data refuses, links, sparse files and absolute paths are. What is counted is what
    comes out of the decompressor, while it comes. The folder appears when it is whole.

    Args:
        archive: The file.
        folder: Must not exist; missing folders above it are made.
        max_bytes: Of all that is unpacked, headers included.
        max_files: And folders.

    Raises:
        DatasetError: Where the archive holds anything but files and folders of its own, is more than was agreed,
            damaged or no archive. Nothing is left of it.
    """
    try:
        if not is_regular(archive):
            raise tarfile.ReadError("expected a regular file")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The folder around the part is open to this user alone, so nobody plants a link in it.
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
    """A stream for `tarfile` that raises an error where more is read of it than was agreed, at once or in all.

    `tarfile` reads extended headers into memory, of whatever size they claim.

    Args:
        stream: The archive without compression.
        max_bytes: Of all that is read.

    Attributes:
        left_now: Bytes that may be read before it is set again: those of a header, and of the file that follows.
    """

    def __init__(self, stream: Any, max_bytes: int) -> None:
        self.stream, self.max_bytes = stream, max_bytes
        self.left, self.left_now = max_bytes, MAX_HEADER

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data: bytes = self.stream.read(size)
        self.left, self.left_now = self.left - len(data), self.left_now - len(data)
        if self.left < 0:
            raise tarfile.ReadError(f"it is more than the {self.max_bytes} bytes that were expected")
        if self.left_now < 0:
            raise tarfile.ReadError(f"a header in it is more than {MAX_HEADER} bytes")
        return data


def _extract(stream: LimitedStream, folder: Path, max_files: int) -> None:
    number = 0
    file: Any = stream
    with tarfile.open(fileobj=file, mode="r|") as archive:
        while (member := archive.next()) is not None:
            number += 1
            if number > max_files:
                raise tarfile.ReadError(f"it holds more than the {max_files} files that were expected")
            _check(member)
            stream.left_now = member.size + MAX_HEADER
            archive.extract(member, folder, filter="data")
            stream.left_now = MAX_HEADER


def _check(member: tarfile.TarInfo) -> None:
    """Refuse what a data set has no use for."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.sparse is not None:
        raise tarfile.ReadError(f"{member.name!r} in it is neither a plain file nor a folder")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.ReadError(f"{member.name!r} in it leads out of its folder")
