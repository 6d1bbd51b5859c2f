"""Untrusted archives: what they may contain, and that nothing of a refused archive is left on disk."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audiogen.data.datasets.archive import MAX_HEADER, unpack
from audiogen.data.datasets.dataset import DatasetError

Member = tuple[tarfile.TarInfo, bytes]
LIMITS = {"max_bytes": 1 << 20, "max_files": 10}


def member(name: str, data: bytes = b"sound", **attributes: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def link(name: str, target: str, kind: bytes) -> Member:
    return member(name, b"", type=kind, linkname=target)


def write(path: Path, *members: Member, mode: str = "w:gz", **options: Any) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_and_folders_are_unpacked(tmp_path: Path, mode: str) -> None:
    folders = [member(name, b"", type=tarfile.DIRTYPE) for name in (".", "./zero")]
    files = [member("./zero/a.wav", b"one", mode=0o6777), member("nine/b c.wav", b"two", uid=0)]
    archive = write(tmp_path / "good.tar", *folders, *files, mode=mode)
    unpack(archive, tmp_path / "deep" / "out", **LIMITS)
    found = {path.relative_to(tmp_path / "deep").as_posix() for path in (tmp_path / "deep").rglob("*")}
    assert found == {"out", "out/zero", "out/zero/a.wav", "out/nine", "out/nine/b c.wav"}
    assert (tmp_path / "deep" / "out" / "zero" / "a.wav").read_bytes() == b"one"
    assert (tmp_path / "deep" / "out" / "zero" / "a.wav").stat().st_mode & 0o7022 == 0


def absolute(folder: Path) -> list[Member]:
    return [member(str(folder / "outside.txt"))]


EVIL: dict[str, tuple[Callable[[Path], list[Member]], str]] = {
    "traversal": (lambda _: [member("../outside.txt")], "points outside its folder"),
    "hidden traversal": (lambda _: [member("zero/../../outside.txt")], "points outside its folder"),
    "absolute": (absolute, "points outside its folder"),
    "symbolic link": (lambda _: [link("zero", "..", tarfile.SYMTYPE), member("zero/outside.txt")], "neither a regular"),
    "harmless link": (lambda _: [member("a.wav"), link("b.wav", "a.wav", tarfile.SYMTYPE)], "neither a regular"),
    "hard link": (lambda _: [link("a.wav", "../secret.txt", tarfile.LNKTYPE)], "neither a regular"),
    "pipe": (lambda _: [member("a.wav", b"", type=tarfile.FIFOTYPE)], "neither a regular"),
    "device": (lambda _: [member("a.wav", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "neither a regular"),
    "many": (lambda _: [member(f"{i}.wav", b"") for i in range(11)], "more than the expected 10 files"),
    "bomb": (lambda _: [member("a.wav", bytes(5 << 20))], "exceeds the expected 1048576 bytes"),
    "many bombs": (
        lambda _: [member(f"{i}.wav", bytes(1 << 18)) for i in range(5)],
        "exceeds the expected 1048576 bytes",
    ),
    "file below a file": (lambda _: [member("a"), member("a/b.wav")], ""),
}


@pytest.mark.parametrize("name", EVIL)
def test_malicious_archive_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    members, reason = EVIL[name]
    archive = write(tmp_path / "evil.tar.gz", member("first.wav"), *members(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=rf"evil\.tar\.gz cannot be unpacked.*{reason}"):
        unpack(archive, tmp_path / "out", **LIMITS)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "secret.txt").read_text() == "secret"


def test_sparse_file_is_refused(tmp_path: Path) -> None:
    info, _ = member("a.wav", b"")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0"}
    info.pax_headers |= {"GNU.sparse.size": str(1 << 40)}
    archive = write(tmp_path / "evil.tar", (info, b""), mode="w", format=tarfile.PAX_FORMAT)
    with pytest.raises(DatasetError, match="neither a regular file"):
        unpack(archive, tmp_path / "out", **LIMITS)


def test_decompression_stops_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path / "evil.tar.gz", member("a.wav", bytes(64 << 20)))
    read: list[int] = []
    real = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        data = real(self, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(DatasetError, match="exceeds the expected 1048576 bytes"):
        unpack(archive, tmp_path / "out", **LIMITS)
    assert sum(read) < (1 << 20) + (1 << 16)


def test_header_of_many_megabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    info, data = member("a.wav")
    info.pax_headers = {"comment": "x" * (2 * MAX_HEADER)}
    archive = write(tmp_path / "evil.tar", (info, data), mode="w", format=tarfile.PAX_FORMAT)
    with pytest.raises(DatasetError, match="a header in it exceeds"):
        unpack(archive, tmp_path / "out", max_bytes=1 << 30, max_files=10)


@pytest.mark.parametrize("damage", ["cut", "text", "missing"])
def test_damaged_archive_is_named(tmp_path: Path, damage: str) -> None:
    archive = write(tmp_path / "good.tar.gz", *(member(f"{i}.wav", bytes(range(256)) * 200) for i in range(4)))
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:400])
    elif damage == "text":
        archive.write_text("not an archive\n" * 100)
    else:
        archive.unlink()
    with pytest.raises(DatasetError, match=r"good\.tar\.gz cannot be unpacked"):
        unpack(archive, tmp_path / "out", **LIMITS)
    assert [path.name for path in tmp_path.iterdir()] == ["good.tar.gz"] * (damage != "missing")


def test_interrupted_unpacking_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path / "good.tar.gz", member("a.wav"), member("b.wav"))
    real = tarfile.TarFile.extract

    def interrupted(self: tarfile.TarFile, info: tarfile.TarInfo, *args: Any, **options: Any) -> None:
        real(self, info, *args, **options)
        if info.name == "b.wav":
            raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", **LIMITS)
    assert [path.name for path in tmp_path.iterdir()] == ["good.tar.gz"]
