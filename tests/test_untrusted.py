"""Run directories and files of strangers: nothing is followed out of them, and nothing expands without bounds."""

import json
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from audiogen.audio.io import write_audio
from audiogen.checkpoint import load
from audiogen.checkpoint_io import CheckpointError, newest_checkpoint, read
from audiogen.checksums import seal_zip
from audiogen.commands.report import report
from audiogen.commands.run_config import read_config
from audiogen.networks.weights import read_weights
from audiogen.untrusted import UntrustedFileError, is_regular, parse_yaml, plain, read_inside
from tests.evil import DIGITS, content_of

SECRET = b"private"
HEADER = "step,kimg,fad\n1,0.001,2\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run directory, and beside it a file that is private."""
    folder = tmp_path / "run"
    (folder / "samples" / "real").mkdir(parents=True)
    (folder / "metrics.csv").write_text(HEADER)
    (tmp_path / "private").write_bytes(SECRET)
    return folder


def planted(path: Path, kind: str, private: Path) -> None:
    """Put something that should not be read at a path."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": private, "endless": Path("/dev/zero"), "kernel": Path("/proc/meminfo")}[kind])


KINDS = ("link", "pipe", "endless", "kernel", "folder")


def in_time(call: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what a call returns, or fail where it waits without end."""
    found: list[Any] = []

    def carry_out() -> None:
        try:
            found.append(call())
        except BaseException as error:  # handed on
            found.append(error)

    thread = threading.Thread(target=carry_out, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it waits without end"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["samples/low.wav", "samples/real/low.wav", "samples/real.png", "config.yaml"])
def test_report_reads_nothing_but_regular_files_of_the_run(kind: str, name: str, run: Path) -> None:
    planted(run / name, kind, run.parent / "private")
    page = in_time(lambda: report(str(run))).page.read_text()
    assert "cHJpdmF0ZQ" not in page  # base64 of the private file
    assert SECRET.decode() not in page.replace(str(run.parent / "private"), "")
    assert f"<li>{run / name} is " in page
    assert "not read</li>" in page


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["metrics.csv", "events.jsonl"])
def test_report_refuses_tables_that_are_no_files(kind: str, name: str, run: Path) -> None:
    (run / "metrics.csv").unlink() if name == "metrics.csv" else None
    planted(run / name, kind, run.parent / "private")
    with pytest.raises((UntrustedFileError, FileNotFoundError), match=r"not read|has no metrics\.csv"):
        in_time(lambda: report(str(run)))


@pytest.mark.parametrize("folder", ["samples", "samples/real"])
def test_report_does_not_list_folders_elsewhere(folder: str, run: Path) -> None:
    (run.parent / "mine").mkdir()
    write_audio(run.parent / "mine" / "secret-name.wav", torch.rand(1, 800) - 0.5, 8000)
    (run / "samples" / "real").rmdir()
    if folder == "samples":
        (run / "samples").rmdir()
    (run / folder).symlink_to(run.parent / "mine")
    page = report(str(run)).page.read_text()
    assert "secret-name" not in page
    assert f"{run / folder} is a link out of {run}: not read" in page


def test_report_replaces_a_link_and_not_what_it_leads_to(run: Path) -> None:
    (run / "report.html").symlink_to(run.parent / "private")
    page = report(str(run)).page
    assert (run.parent / "private").read_bytes() == SECRET
    assert not page.is_symlink()
    assert "<!doctype html>" in page.read_text()


def test_report_follows_links_within_a_run_that_is_a_link_itself(run: Path) -> None:
    (run / "samples" / "first.png").write_bytes(b"picture")
    (run / "samples" / "real.png").symlink_to("first.png")
    (run.parent / "link").symlink_to(run)
    assert "cGljdHVyZQ" in report(str(run.parent / "link")).page.read_text()


def test_report_bounds_what_it_embeds(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (run / "samples" / f"{name}.wav").write_bytes(bytes(400))
    monkeypatch.setattr("audiogen.commands.report.MAX_SAMPLES", 1000)
    page = report(str(run)).page.read_text()
    assert page.count("<audio") == 2
    assert "c.wav has more than 200 bytes: not read" in page


def test_report_of_a_run_that_logged_nothing_yet(run: Path) -> None:
    (run / "metrics.csv").unlink()
    (run / "checkpoints").mkdir()
    for kimg in ("00000.016", "00000.008"):
        (run / "checkpoints" / f"kimg-{kimg}.ckpt").touch()
    assert report(str(run)).kimg == 0.016
    assert "0.0 kimg" in (run / "report.html").read_text()


def test_report_knows_the_kimg_of_a_checkpoint_after_the_last_row(run: Path) -> None:
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "kimg-00012.500.ckpt").touch()
    assert report(str(run)).kimg == 12.5
    assert "12.5 kimg" in (run / "report.html").read_text()


def bomb(levels: int = 12, width: int = 10) -> str:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * width)}]" for n in range(levels)]
    return "\n".join(lines) + "\nmodel: {class_path: x.Y}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bomb(), "expands to more than 100000 values"),
        ("a: &a [*a]", "expands to more than|not readable YAML"),
        ("[" * 2000 + "]" * 2000, "nested too deeply|more than"),
        ("x" * (1 << 23), "expected at most"),
        ("a: [", "is not readable YAML"),
        ("!!python/object/apply:os.system ['true']", "is not readable YAML"),
        ("a: 2001-01-01", "holds a date"),
        ("1: a", "a key that is not a string"),
    ],
)
def test_yaml_that_expands_or_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UntrustedFileError, match=reason):
        in_time(lambda: parse_yaml(text, "config.yaml"))


def test_aliases_that_stay_small_are_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}", "x") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


def test_report_and_evaluate_survive_a_yaml_bomb(run: Path) -> None:
    (run / "config.yaml").write_text(bomb())
    assert "unknown" in in_time(lambda: report(str(run))).page.read_text()
    (run / "checkpoints").mkdir()
    save_checkpoint(run / "checkpoints" / "kimg-00000.008.ckpt")
    with pytest.raises(ValueError, match=r"config\.yaml expands to more than"):
        in_time(lambda: read_config(run / "config.yaml"))


@pytest.mark.parametrize("value", [{1: 2}, (1,), {1}, b"x", 1j, torch.ones(1), Path("x"), [[(1,)]], {"a": {"b": ()}}])
def test_only_plain_values_pass(value: Any) -> None:
    with pytest.raises(UntrustedFileError, match=r"file (holds a|has a key)"):
        plain(value, "file")


def test_files_of_the_kernel_are_not_regular(tmp_path: Path) -> None:
    (tmp_path / "x.wav").symlink_to("/proc/self/status")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    names = ("/proc/self/status", "/proc/meminfo", "/sys/kernel/uevent_seqnum", "/dev/zero", tmp_path / "x.wav")
    assert not any(is_regular(Path(name)) for name in (*names, tmp_path / "circle", tmp_path))
    assert is_regular(tmp_path / "file")


@pytest.mark.parametrize("name", ["../private", "/etc/hostname", "link/private"])
def test_no_path_leads_out_of_a_folder(name: str, run: Path) -> None:
    (run / "link").symlink_to(run.parent)
    with pytest.raises(UntrustedFileError, match="not read"):
        read_inside(run, name, 1000)


def save_checkpoint(path: Path, **changes: Any) -> Path:
    content = content_of(DIGITS)
    with path.open("w+b") as file:
        torch.save({**content, **changes}, file)
        seal_zip(file)
    return path


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_checkpoint_that_is_no_file_is_no_checkpoint(kind: str, run: Path) -> None:
    (run / "checkpoints").mkdir()
    planted(run / "checkpoints" / "kimg-00000.016.ckpt", kind, run.parent / "private")
    good = save_checkpoint(run / "checkpoints" / "kimg-00000.008.ckpt")
    assert in_time(lambda: newest_checkpoint(run)) == good
    with pytest.raises(CheckpointError, match=r"expected a regular file|no checkpoint in"):
        in_time(lambda: load(run / "checkpoints" / "kimg-00000.016.ckpt"))


def test_compressed_checkpoint_is_refused_before_it_grows(tmp_path: Path) -> None:
    """4 GB of zeros are 4 MB as a compressed archive; these are 40 MB."""
    plain_file = save_checkpoint(tmp_path / "plain.ckpt", more=torch.zeros(10_000_000))
    with zipfile.ZipFile(plain_file) as source, zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            out.writestr(name, source.read(name))
    assert (tmp_path / "x.ckpt").stat().st_size < plain_file.stat().st_size / 10
    with pytest.raises(CheckpointError, match=r"it is compressed, but torch\.save writes uncompressed archives"):
        load(tmp_path / "x.ckpt")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "x.ckpt").rename(tmp_path / "run" / "checkpoints" / "kimg-00000.008.ckpt")
    assert newest_checkpoint(tmp_path / "run") is None
    with zipfile.ZipFile(tmp_path / "weights.pth", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("weights/data.pkl", bytes(1000))
    with pytest.raises(ValueError, match=r"is not a weights file \(it is compressed"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clips_seen": float("nan")}, "expected clips_seen"),
        ({"clips_seen": float("inf")}, "expected clips_seen"),
        ({"clips_seen": 8.0}, "expected clips_seen"),
        ({"clips_seen": -1}, "expected clips_seen"),
        ({"clips_seen": "8"}, "expected clips_seen"),
        ({"clips_seen": True}, "expected clips_seen"),
        ({"clips_seen": None}, "expected clips_seen"),
        ({"clips_seen": 1 << 80}, "expected clips_seen"),
        ({"state_dict": None}, "expected weights"),
        ({"state_dict": {"x": torch.ones(2, 2).to_sparse()}}, "expected weights"),
        ({"state_dict": {"x": torch.ones(2, device="meta")}}, "expected weights"),
        ({"state_dict": {"x": torch.full((2,), float("nan") * 1j)}}, "NaN or infinite weights in x"),
        ({"stopped": "yes"}, "expected stopped"),
        ({"skipped": [-1]}, "expected skipped"),
        ({"recorded": [{"loss": 3}]}, "expected recorded"),
        ({"recorded": []}, "expected recorded"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=reason):
        read(save_checkpoint(tmp_path / "x.ckpt", **changes))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_weights_that_are_not_finite_are_refused(value: float, suffix: str, tmp_path: Path) -> None:
    content = content_of(DIGITS)
    name = next(name for name, tensor in content["state_dict"].items() if tensor.is_floating_point())
    content["state_dict"][name].flatten()[0] = value
    if suffix == "ckpt":
        torch.save(content, tmp_path / "x.ckpt")
    else:
        save_file(content.pop("state_dict"), tmp_path / "x.safetensors", {"audiogen": json.dumps(content)})
    with pytest.raises(CheckpointError, match=rf"NaN or infinite weights in {name}"):
        load(tmp_path / f"x.{suffix}")


def test_weights_that_claim_more_than_they_are_are_refused(tmp_path: Path) -> None:
    content = content_of(DIGITS)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] = torch.zeros(1).expand(1 << 40)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=rf"{name} claims \[{1 << 40}\] of a smaller storage"):
        load(tmp_path / "x.ckpt")


def test_config_of_a_run_is_read_within_it(run: Path) -> None:
    (run.parent / "private").write_text(yaml.safe_dump({"data": {"root": "x"}}))
    (run / "config.yaml").symlink_to(run.parent / "private")
    with pytest.raises(UntrustedFileError, match="is a link out of"):
        read_config(run / "config.yaml")
