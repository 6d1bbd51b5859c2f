"""What users see when something is wrong: one message, no stack trace, exit status not 0."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen.__main__ import main
from audiogen.checkpoint import load
from audiogen.checkpoint_io import CheckpointError
from tests.tiny_run import arguments, write_classes


def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    """Run the command line, which must fail; return its exit status and what it wrote to stderr."""
    monkeypatch.setattr(sys, "argv", ["audiogen", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert isinstance(stop.value.code, int)
    return stop.value.code, message


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", {"low": 300, "high": 2000}, num=2)


def test_config_key_with_a_typo(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, message = fail(monkeypatch, capsys, *arguments(data, tmp_path / "run", 1, "--model.totl_kimg", "3"))
    assert status == 2
    assert "totl_kimg" in message
    (tmp_path / "typo.yaml").write_text("data:\n  bach_size: 3\n")
    args = arguments(data, tmp_path / "run", 1, "--config", str(tmp_path / "typo.yaml"))
    status, message = fail(monkeypatch, capsys, *args)
    assert status == 2
    assert "bach_size" in message


def test_misspelt_choice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, message = fail(monkeypatch, capsys, *arguments(data, tmp_path / "run", 1, "--model.precision", "fp12"))
    assert status == 2
    assert "fp12" in message
    assert "bf16" in message


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: None, "does not exist (--data.root)"),
        (lambda folder: folder.mkdir(), "no sound files"),
        (lambda folder: write_classes(folder, {"a": 300, "b": 400}, num=1), "no class has two usable clips"),
    ],
    ids=["missing", "empty", "one clip a class"],
)
def test_data_folder_without_data(
    make: object, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data")  # type: ignore[operator]
    status, message = fail(monkeypatch, capsys, *arguments(tmp_path / "data", tmp_path / "run"))
    assert status == 1
    assert expected in message


def test_no_data_folder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, message = fail(monkeypatch, capsys, "fit", "--config", "configs/stylegan2_fsdd.yaml")
    assert status == 1
    assert "name it with --data.root DIR" in message


def test_bad_files_are_named_and_training_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "low" / "garbage.wav").write_bytes(b"this is not a sound")
    (data / "low" / "nothing.wav").write_bytes(b"")
    soundfile.write(data / "low" / "short.wav", np.ones(100), 8000)
    soundfile.write(data / "high" / "nan.wav", np.full(8000, np.nan), 8000, subtype="FLOAT")
    monkeypatch.setattr(sys, "argv", ["audiogen", *arguments(data, tmp_path / "run", 0.008)])
    with caplog.at_level("INFO"):
        main()
    assert "Data: 4 of 8 files used" in caplog.text
    for name, reason in (
        ("garbage", "unreadable"),
        ("nothing", "unreadable"),
        ("short", "too short"),
        ("nan", "not finite"),
    ):
        assert any(f"{name}.wav: {reason}" in line for line in caplog.text.splitlines())
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    left_out = (tmp_path / "run" / "left_out.txt").read_text()
    assert sorted(Path(line.split(": ")[0]).stem for line in left_out.splitlines()) == [
        "garbage",
        "nan",
        "nothing",
        "short",
    ]


def test_spectrogram_that_the_network_cannot_make(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(data, tmp_path / "run", 1, "--data.transform.num_frames", "33")
    status, message = fail(monkeypatch, capsys, *args)
    assert status == 1
    assert message.startswith("audiogen: error: StyleGAN2 needs bands and frames of")
    assert "got 32 bands x 33 frames" in message


def test_checkpoint_from_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "run").mkdir()
    for name, expected in (
        ("other.ckpt", "is not a checkpoint of audiogen"),
        ("text.ckpt", "is not a readable checkpoint"),
        ("gone.ckpt", "no such checkpoint"),
        ("run", "no checkpoint in run directory"),
    ):
        status, message = fail(monkeypatch, capsys, "generate", tmp_path / name)
        assert status == 1
        assert expected in message


def test_continuing_from_something_else(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.ckpt").write_bytes(b"")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    for name, expected in (
        ("empty.ckpt", "is not a readable checkpoint"),
        ("other.ckpt", "is not a checkpoint of audiogen"),
        ("gone.ckpt", "no such checkpoint"),
    ):
        args = arguments(data, tmp_path / "run", 1, "--ckpt_path", str(tmp_path / name))
        status, message = fail(monkeypatch, capsys, *args)
        assert status == 1
        assert expected in message


def test_checkpoint_that_does_not_fit_its_model(tmp_path: Path) -> None:
    hparams = {"_class_path": "audiogen.models.stylegan2.StyleGAN2", "batch_size": 4}
    torch.save({"state_dict": {}, "clips_seen": 0, "hyper_parameters": hparams}, tmp_path / "half.ckpt")
    with pytest.raises(CheckpointError, match=r"does not fit its model audiogen\.models"):
        load(tmp_path / "half.ckpt")


def test_unknown_verb_and_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, message = fail(monkeypatch, capsys, "trane")
    assert status == 2
    assert "no command 'trane'" in message
    monkeypatch.setattr(sys, "argv", ["audiogen", "--help"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert "generate" in capsys.readouterr().out


def test_generate_needs_no_training_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "audiogen.cli", raising=False)
    monkeypatch.setattr(sys, "argv", ["audiogen", "generate", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "audiogen.cli" not in sys.modules
