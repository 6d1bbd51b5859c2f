"""Every file is written by `audiogen.atomic`: whole, beside its place, and through no link."""

import ast
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from audiogen import atomic
from audiogen.atomic import append_text, replacing, write_text
from audiogen.audio.io import audio_writer, write_audio
from audiogen.pictures import save_figure
from tests.full_disk import limited_files

PACKAGE = Path("audiogen")
# What writes to a path or to an open file; allowed on the open file that `replacing` yields.
WRITES = {
    *("savefig", "save", "savez", "savez_compressed", "savetxt", "save_file", "tofile", "SoundFile", "TarWriter"),
    *("ShardWriter", "memmap", "open_memmap", "to_csv", "imsave"),
}
# What always opens a path itself.
OPENS = {"write_text", "write_bytes", "mkstemp", "NamedTemporaryFile", "copyfile", "copytree", "copy2"}
READS = {"torch.load", "soundfile.SoundFile"}
# Files of a folder that is built under another name and renamed when it is whole.
FOLDERS = {"data/store.py", "data/datasets/spoken_digits.py", "data/pipeline.py", "data/cache.py"}


def name_of(node: ast.expr) -> str:
    return ast.unparse(node)


def writing_calls(path: Path) -> Iterator[str]:
    """Yield the calls in a file that write something elsewhere than into what `replacing` has opened."""

    def walk(node: ast.AST, inside: bool) -> Iterator[str]:
        if isinstance(node, ast.With | ast.AsyncWith):
            inside = inside or any(name_of(item.context_expr).startswith("replacing(") for item in node.items)
        if isinstance(node, ast.Call) and is_writing(node, inside):
            yield f"{path}:{node.lineno}: {ast.unparse(node)}"
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text()), False)


def is_writing(call: ast.Call, inside: bool) -> bool:
    """Return whether a call opens a path for writing."""
    name = name_of(call.func)
    last = name.rpartition(".")[2]
    constants = [
        value.value for value in [*call.args, *(k.value for k in call.keywords)] if isinstance(value, ast.Constant)
    ]
    modes = [value for value in constants if isinstance(value, str) and value and set(value) <= set("rwxabt+")]
    if last in ("open", "fdopen"):
        return name in ("os.open", "os.fdopen") or any(set(mode) & set("wxa+") for mode in modes)
    if last in OPENS:
        return isinstance(call.func, ast.Attribute)  # not our own function of this name
    if last == "SoundFile" and not any(set(mode) & set("wxa+") for mode in modes):
        return False
    if last == "memmap" and "r" in modes:
        return False
    return last in WRITES and isinstance(call.func, ast.Attribute | ast.Name) and not inside


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_only_the_writer_opens_files_to_write(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    if where in ("atomic.py", *FOLDERS):
        return
    allowed = ("untrusted.py", "os.open(inner, os.O_RDONLY"), ("untrusted.py", "os.fdopen(descriptor, 'rb')")
    allowed += (("commands/dashboard.py", ".save()"),)  # a workspace of W&B, on its server
    allowed += (("metrics/embeddings/cache.py", "torch.save(tuple(found), content)"),)  # into memory
    allowed += (("pictures.py", "figure.savefig(file, format='svg'"),)  # into memory
    found = [call for call in writing_calls(path) if not any(where == file and text in call for file, text in allowed)]
    assert found == []


@pytest.mark.parametrize(
    ("code", "num"),
    [
        ("open(path, 'w')", 1),
        ("path.open('ab')", 1),
        ("path.open(mode='x')", 1),
        ("open(path)\npath.open('rb')", 0),
        ("path.write_text(text)\npath.write_bytes(b'')", 2),
        ("write_text(path, text)", 0),
        ("torch.save(x, path)\nfigure.savefig(path)\nnp.savez(path)", 3),
        ("with replacing(path) as file:\n    torch.save(x, file)", 0),
        ("with suppress(OSError), replacing(path) as file:\n    torch.save(x, file)", 0),
        ("soundfile.SoundFile(path, 'w')", 1),
        ("soundfile.SoundFile(path)", 0),
        ("os.open(path, flags)", 1),
    ],
)
def test_the_rule_finds_what_it_should(code: str, num: int, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(code)
    assert len(list(writing_calls(tmp_path / "code.py"))) == num


def write_sound(path: Path) -> None:
    write_audio(path, torch.zeros(1, 80000), 8000)


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "text": ("x.json", lambda path: write_text(path, "new" * 40000)),
    "picture": ("grid.png", lambda path: save_figure(Figure(figsize=(30, 30), dpi=100), path)),
    "wav": ("x.wav", write_sound),
    "flac": ("x.flac", lambda path: write_audio(path, torch.rand(1, 80000) - 0.5, 8000)),
    "ogg": ("x.ogg", lambda path: write_audio(path, torch.rand(1, 80000) - 0.5, 8000)),
    "mp3": ("x.mp3", lambda path: write_audio(path, torch.rand(1, 800000) - 0.5, 8000)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_links_that_somebody_has_planted_are_not_followed(kind: str, tmp_path: Path) -> None:
    """At the name itself, and at the names of parts that earlier versions used."""
    name, write = WRITERS[kind]
    (tmp_path / "private").write_text("private")
    out = tmp_path / "out"
    out.mkdir()
    for planted in (name, f".{name}.part", f"{name}.part", f".{name}.tmp"):
        (out / planted).symlink_to(tmp_path / "private")
    write(out / name)
    assert (tmp_path / "private").read_text() == "private"
    assert not (out / name).is_symlink()
    assert (out / name).stat().st_size > 3


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_reported_as_such_and_leaves_the_old_file(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    (tmp_path / name).write_text("old")
    with limited_files(2000), pytest.raises(OSError, match=rf"File too large: .*{name}"):
        write(tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("suffix", "kept"), [("wav", True), ("aiff", True), ("flac", False), ("ogg", False)])
def test_what_was_written_before_the_disk_was_full_can_be_kept(suffix: str, kept: bool, tmp_path: Path) -> None:
    def fill() -> None:
        failures = 0
        with audio_writer(tmp_path / f"x.{suffix}", 8000, 1) as write:
            for _ in range(50):
                try:
                    write(0.5 * torch.rand(1, 4000))
                except OSError:
                    failures += 1
        assert failures

    with limited_files(50_000):
        if kept:
            fill()
        else:
            with pytest.raises(OSError, match="File too large"):
                fill()
    assert [path.name for path in tmp_path.iterdir()] == ([f"x.{suffix}"] if kept else [])
    if kept:
        samples, _ = soundfile.read(tmp_path / f"x.{suffix}")
        assert 20_000 <= len(samples) <= 25_000
        assert samples[:20_000].std() > 0.1


def test_part_has_a_new_name_each_time_and_the_mode_of_the_umask(tmp_path: Path) -> None:
    names = set()
    before = os.umask(0o027)
    try:
        for _ in range(3):
            with replacing(tmp_path / "file") as file:
                names.update(path.name for path in tmp_path.glob(atomic.PART_PATTERN))
                file.write(b"new")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    assert len(names) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_devices_pipes_and_folders_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match=rf"expected a file to write, got a .*{name}"):
            write_text(tmp_path / name, "new")
    with pytest.raises(OSError, match=r"expected a file to write, got a device or a pipe: '/dev/null'"):
        write_text(Path("/dev/null"), "new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_nothing_is_appended_to_a_pipe_or_through_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "private").write_text("private")
    (tmp_path / "link").symlink_to("private")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match=name):
            append_text(tmp_path / name, "more")
    append_text(tmp_path / "private", " more")
    assert (tmp_path / "private").read_text() == "private more"
