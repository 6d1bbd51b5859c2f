"""Names of others do nothing to the terminal, and files without an end are not read."""

import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_info

from audiogen.__main__ import main
from audiogen.audio.io import AudioFileError, audio_info
from audiogen.data.cache import file_digests
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.datasets.folder import find_sounds
from audiogen.data.datasets.manifest import Manifest
from audiogen.terminal import escape_messages, printable
from tests.tiny_run import arguments, write_classes

ESCAPE = "low\x1b[2J\x9b31m\r\u202e"


def test_characters_that_act_are_escaped_and_others_stay() -> None:
    assert printable(ESCAPE) == r"low\x1b[2J\x9b31m\r\u202e"
    assert printable("sieben\tää\n七 \\x1b") == "sieben\tää\n七 \\x1b"


def test_nothing_that_commands_print_acts_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Class names and file names, good ones and bad ones, in reports, logs and errors."""
    name = "low\x1b[2J\u202e"
    data = write_classes(tmp_path / "data", {name: 300, "high": 2000})
    (data / name / "bad\x1b.wav").write_text("no sound")
    tiny = arguments(data, tmp_path / "run", 0.008)
    own = [
        part
        for pair in zip(tiny[1::2], tiny[2::2], strict=True)
        if not pair[0].startswith(("--model", "--trainer"))
        for part in pair
    ]
    model = str(tmp_path / "run")
    commands = [["prepare", *own], ["inspect", *own, "--out", str(tmp_path / "page"), "--num", "1"], tiny]
    commands += [["generate", model, "--out", str(tmp_path / "out")], ["generate", model, "--label", "x\x1b[2J"]]
    commands += [["generate", f"{tmp_path}/\x1b[2J"], ["prepare", "--x\x1b[2J", "3"]]
    with caplog.at_level("INFO"):
        for command in commands:
            monkeypatch.setattr(sys, "argv", ["audiogen", *command])
            with suppress(SystemExit):
                main()
    shown = "".join(capfd.readouterr()) + caplog.text
    for character in "\x1b\u202e":
        lines = [line for line in shown.splitlines() if character in line]
        assert [line for line in lines if "low" in line or "bad" in line or "2J" in line] == []
    assert r"bad\x1b.wav" in shown
    assert r"low\x1b[2J\u202e" in shown


def test_warnings_and_logs_are_escaped(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    escape_messages()
    with caplog.at_level("INFO"):
        rank_zero_info("class %s", ESCAPE)
    assert printable(ESCAPE) in caplog.text
    assert r"\x1b[2J" in warnings.formatwarning(UserWarning(ESCAPE), UserWarning, "file.py", 1)


@pytest.mark.parametrize("target", ["/proc/meminfo", "/proc/self/status", "/dev/zero", "pipe"])
def test_files_without_an_end_are_no_sounds(target: str, tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    path = tmp_path / "sounds" / "x.wav"
    if target == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    with pytest.raises(AudioFileError, match="not a regular file"):
        audio_info(path)
    with pytest.raises(DatasetError, match="no sound files"):
        find_sounds(tmp_path / "sounds")
    (tmp_path / "manifest.csv").write_text(f"path\n{path}\n")
    with pytest.raises(DatasetError, match=r"line 2: .* is neither a file nor missing"):
        Manifest().scan(tmp_path)
    (digest,) = file_digests([path], tmp_path)
    assert "not a regular file" in digest
