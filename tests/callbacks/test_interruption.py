"""A signal ends a training at a batch; see tests/faults for kills, and tests/slurm for jobs."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from lightning.pytorch.strategies import SingleDeviceStrategy

from audiogen import signals
from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.callbacks.interruption import Interruption, _check_processes, arithmetic
from audiogen.callbacks.mode_collapse import ModeCollapse
from audiogen.callbacks.wandb_logger import ID_FILE
from audiogen.cli import LOCK_NAME, main
from audiogen.models.kimg import KimgModule
from audiogen.models.stylegan2 import StyleGAN2
from tests.slurm.cluster import wait_until
from tests.test_training import differing
from tests.tiny_run import arguments, write_classes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", {"low": 300, "high": 2000})


@pytest.fixture(autouse=True)
def _handlers() -> None:
    for number in signals.HANDLED:
        signal.signal(number, signal.SIG_DFL)  # this process may have been told to ignore some
    signals.install()


def signal_at(clips: int, patch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Let signals come in the middle of a step."""
    count = KimgModule.count_clips

    def counted(model: KimgModule) -> None:
        if model.clips_seen == clips:
            for number in numbers:
                os.kill(os.getpid(), number)
        count(model)

    patch.setattr(KimgModule, "count_clips", counted)


def test_a_stopped_run_says_where_it_is_and_goes_on_in_its_wandb_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    more = ["--config", "configs/trainer/wandb.yaml", "--trainer.logger.init_args.mode", "offline"]
    command = arguments(data, tmp_path / "run", 0.024, *more)
    with monkeypatch.context() as patch:
        signal_at(8, patch, signal.SIGTERM)
        with pytest.raises(SystemExit) as left:
            main(command)
    assert left.value.code == signals.EXIT_AGAIN == 75
    saved = tmp_path / "run" / "checkpoints" / "kimg-00000.012.ckpt"
    assert saved.exists()
    name = (tmp_path / "run" / ID_FILE).read_text()
    main(command)
    assert (tmp_path / "run" / ID_FILE).read_text() == name
    assert (tmp_path / "run" / "checkpoints" / "kimg-00000.024.ckpt").exists()
    import wandb

    wandb.finish()


def test_means_over_a_stop_are_those_of_all_their_steps(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = (arguments(data, tmp_path / name, 0.032, "--model.log_every_kimg", "0.016") for name in "ab")
    main(whole)
    with monkeypatch.context() as patch:
        signal_at(20, patch, signal.SIGTERM)  # of 16 to 32
        with pytest.raises(SystemExit):
            main(parts)
    main(parts)
    tables = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in "ab"]
    assert [row["step"] for row in tables[0]] == ["16", "32"]
    for one, other in zip(*tables, strict=True):
        assert {"penalty/r1", "path_length/mean"} <= other.keys() == one.keys() - {"speed/clips_per_second"}
        for name, value in other.items():
            assert float(value) == pytest.approx(float(one[name]), rel=1e-12), name


def test_a_signal_in_the_last_step_changes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(12, monkeypatch, signal.SIGUSR1)
    main(arguments(data, tmp_path / "run", 0.016))
    monkeypatch.undo()
    main(arguments(data, tmp_path / "undisturbed", 0.016))
    sounds = [(tmp_path / run / "samples" / "low.wav").read_bytes() for run in ("run", "undisturbed")]
    assert sounds[0] == sounds[1]
    states = [
        torch.load(tmp_path / run / "checkpoints/kimg-00000.016.ckpt", weights_only=True)["state_dict"]
        for run in ("run", "undisturbed")
    ]
    assert differing(*states) == []


def test_pressing_ctrl_c_twice_ends_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(8, monkeypatch, signal.SIGINT, signal.SIGINT)
    with pytest.raises(SystemExit):
        main(arguments(data, tmp_path / "run", 0.024))
    assert not (tmp_path / "run" / "checkpoints" / "kimg-00000.012.ckpt").exists()


def test_two_trainings_do_not_share_a_run_directory(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / LOCK_NAME),
        pytest.raises(ValueError, match=r"another training is running in .*run: wait for its end"),
    ):
        main(arguments(data, tmp_path / "run", 0.008))
    main(arguments(data, tmp_path / "run", 0.008))


def test_a_closed_terminal_is_a_signal_like_others_but_under_nohup(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_at(8, monkeypatch, signal.SIGHUP)
    with pytest.raises(SystemExit) as left:
        main(arguments(data, tmp_path / "run", 0.024))
    assert left.value.code == signals.EXIT_AGAIN
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.install()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_batch_that_cannot_be_shared_is_refused_with_one_that_can(data: Path, tmp_path: Path) -> None:
    trainer = SimpleNamespace(strategy=SingleDeviceStrategy(), world_size=3)
    with pytest.raises(ValueError, match=r"batch_size 16 is not divisible by the 3 processes: .* example, 18"):
        Interruption().setup(trainer, SimpleNamespace(batch_size=16), "fit")  # type: ignore[arg-type]


def test_a_strategy_that_splits_models_is_refused() -> None:
    with pytest.raises(ValueError, match=r"FSDPStrategy splits models.*use --trainer.strategy ddp"):
        _check_processes(SimpleNamespace(strategy=type("FSDPStrategy", (), {})(), world_size=2))  # type: ignore[arg-type]


def test_processes_that_slurm_started_and_nobody_asked_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = SimpleNamespace(strategy=SingleDeviceStrategy(), world_size=1)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    _check_processes(alone)  # type: ignore[arg-type]
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(ValueError, match="srun started 4 processes, but 1 would train together"):
        _check_processes(alone)  # type: ignore[arg-type]


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follow = (
        "import sys, time; from audiogen import signals; signals.follow_parent(); "
        "print('follows', file=sys.stderr, flush=True); time.sleep(60)"
    )
    start = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {follow!r}], stderr=open({str(log)!r}, 'w'))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().strip()
    wait_until(lambda: "follows" in log.read_text(), 30, log.read_text)
    parent.kill()
    parent.wait()
    wait_until(lambda: not child.exists(), 10, lambda: "it lives on")
    assert "the first process of this training is gone" in log.read_text()


def run_with(
    error: BaseException, patch: pytest.MonkeyPatch, owner: Any, name: str, occasion: int, args: list[str]
) -> None:
    """Run a training in which a method raises an error at some call."""
    original, calls = getattr(owner, name), []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == occasion:
            raise error
        return original(*args, **kwargs)

    with patch.context() as context:
        context.setattr(owner, name, failing)
        with pytest.raises(type(error)):
            main(args)


def test_an_error_between_steps_saves_a_state_from_which_the_same_command_resumes_exactly(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    main(arguments(data, whole))
    with caplog.at_level("INFO"):
        error = RuntimeError("a callback failed")
        # after the third step: a checkpoint was due after the second
        run_with(error, monkeypatch, KimgCheckpoint, "on_train_batch_end", 3, arguments(data, broken))
    assert "An error ended the training at 0.012 kimg. Its state was saved as" in caplog.text
    assert (broken / "checkpoints" / "kimg-00000.012.ckpt").exists()
    main(arguments(data, broken))
    first, second = (
        torch.load(run / "checkpoints" / "kimg-00000.024.ckpt", weights_only=True)["state_dict"]
        for run in (whole, broken)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_error_in_a_step_saves_a_state_that_is_used_only_where_it_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    with caplog.at_level("INFO"):
        # of the third step, the discriminator was not updated
        run_with(RuntimeError("out of memory"), monkeypatch, StyleGAN2, "r1_backward", 2, arguments(data, run))
        names = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert names == ["interrupted.ckpt", "kimg-00000.008.ckpt"]
        assert f"--ckpt_path {run / 'checkpoints' / 'interrupted.ckpt'}" in caplog.text
        main(arguments(data, run))
    assert "Starting from" in caplog.text
    assert f"Starting from {run / 'checkpoints' / 'kimg-00000.008.ckpt'}" in caplog.text


def test_an_error_before_the_first_step_saves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(arguments(data, tmp_path / "run", 0.008))
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    again = arguments(data, tmp_path / "run", 0.016, "--ckpt_path", "last")
    run_with(RuntimeError("early"), monkeypatch, Interruption, "on_train_start", 1, again)
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()} == before


def test_other_threads_or_processors_are_reported_on_resuming(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(arguments(data, tmp_path / "run", 0.008))
    now = arithmetic()
    assert now["threads"] == str(torch.get_num_threads())
    monkeypatch.setattr("audiogen.callbacks.interruption.arithmetic", lambda: now | {"threads": "99"})
    with pytest.warns(UserWarning, match=f"other arithmetic .*threads {now['threads']}, now 99.*not be bit-identical"):
        main(arguments(data, tmp_path / "run", 0.016, "--ckpt_path", "last"))


def test_damaged_settings_are_set_aside_and_the_training_continues(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    for number, damage in enumerate([b"\xff\xfe: [", b"", b"data: {\n"]):
        main(arguments(data, run, 0.008, *(["--ckpt_path", "last"] if number else [])))
        kept = (run / "config.yaml").read_bytes()
        (run / "config.yaml").write_bytes(damage)
        with caplog.at_level("INFO"):
            main(arguments(data, run, 0.008))
        assert (run / "config.yaml").read_bytes() == kept
    assert sorted(path.name for path in run.glob("*.damaged")) == [
        "config.yaml.2.damaged",
        "config.yaml.3.damaged",
        "config.yaml.damaged",
    ]
    (run / "config.yaml").write_bytes(kept[:300])  # cut off, which is YAML too
    with pytest.raises(ValueError, match="other settings"):  # the checkpoint knows them
        main(arguments(data, run, 0.016))


def test_damaged_events_are_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "events.jsonl"
    lines = ['{"kimg": 1.0, "rule": "a"}', "\x00", "null", '{"rule": "b"}', '{"kimg": 2.0, "rule": "c"}', '{"kimg": 3']
    path.write_text("\n".join(lines))
    trainer = SimpleNamespace(default_root_dir=tmp_path, is_global_zero=True)
    with caplog.at_level("INFO"):
        ModeCollapse().on_train_start(trainer, SimpleNamespace(kimg=1.5))  # type: ignore[arg-type]
    assert path.read_text().splitlines() == lines[:1]
    assert (tmp_path / "events.jsonl.damaged").read_text() == "\n".join(lines)
    assert "events.jsonl is damaged (3 of its lines)" in caplog.text


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_processes_that_are_copies_of_one_are_refused_in_a_sentence(strategy: str, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"low": 300, "high": 2000})
    flags = ("--trainer.strategy", strategy, "--trainer.devices", "2")
    with pytest.raises(ValueError, match=rf"^--trainer.strategy {strategy} copies .*: use --trainer.strategy ddp, "):
        main(arguments(data, tmp_path / "run", 0.008, *flags))
