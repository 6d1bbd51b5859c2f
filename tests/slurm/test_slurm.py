"""The project's own batch files on a real Slurm: pre-empted, warned, killed, cancelled."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.faults.bench import saved_clips
from tests.slurm.cluster import Cluster, Job, free_ports, missing, output_of, wait_until
from tests.tiny_classifier import write_classifier
from tests.tiny_run import arguments, write_classes

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
STEPS, BATCH = 60, 8


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON", sys.executable)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("SLURM_CONF", "")
        patch.setenv("MASTER_PORT", str(free_ports(1)[0]))  # another cluster on this machine may have the same job
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"), {"low": 300, "high": 2000})


def train(cluster: Cluster, data: Path, run: Path, *options: str, steps: int = STEPS, tasks_per_node: int = 2) -> Job:
    """Submit a training of two processes."""
    command, flag, config, *rest = arguments(data, run, steps * BATCH / 1000, "--data.batch_size", str(BATCH))
    assert (command, flag) == ("fit", "--config")
    return cluster.submit(f"--ntasks-per-node={tasks_per_node}", *options, "slurm/train.sbatch", config, *rest)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    train(cluster, data, run).wait("COMPLETED")
    return run


def end_of(run: Path) -> dict[str, torch.Tensor]:
    path = run / "checkpoints" / f"kimg-{STEPS * BATCH / 1000:09.3f}.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def tasks_of(job: Job) -> list[int]:
    """Return the processes that train, as Slurm numbers them."""
    lines = output_of("scontrol", "listpids", f"{job.number}.0").splitlines()[1:]
    rows = [line.split() for line in lines]
    return [int(row[0]) for row in sorted(rows, key=lambda row: row[3]) if row[3].isdecimal()]


def preempt(job: Job) -> None:
    job.cluster.submit("-p", "high", "--ntasks-per-node=2", "--wrap", "sleep 2")


def warn(job: Job) -> None:
    output_of("scancel", "--signal=USR1", job.number)


def kill_one(job: Job) -> None:
    os.kill(tasks_of(job)[-1], signal.SIGKILL)


@pytest.mark.parametrize("stop", [preempt, kill_one])  # a warning comes to two nodes below
def test_a_stopped_job_requeues_itself_and_ends_as_an_undisturbed_one(
    stop: Callable[[Job], None], cluster: Cluster, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    job = train(cluster, data, run)
    wait_until(lambda: saved_clips(run) > 0, 90, job.output)
    stop(job)
    job.restart_now()
    job.wait("COMPLETED")
    assert job.show("Restarts") == "1"
    assert "restart 1: 2 processes on n1" in job.output()
    one, other = end_of(undisturbed), end_of(run)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    tables = [(place / "metrics.csv").read_text().splitlines() for place in (undisturbed, run)]
    assert len(tables[0]) == len(tables[1]) == STEPS + 1  # one curve, with no gap and no overlap
    if stop is preempt:
        assert "The same command resumes from there" in job.output()


def test_one_process_on_each_of_two_nodes_trains_what_two_on_one_do_and_is_requeued(
    cluster: Cluster, data: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # the nodes' names are not known to this machine
    job = train(cluster, data, tmp_path / "run", "-p", "wide", "--nodes=2", tasks_per_node=1)
    wait_until(lambda: saved_clips(tmp_path / "run") > 0, 90, job.output)
    warn(job)
    job.restart_now()
    job.wait("COMPLETED")
    assert "The same command resumes from there" in job.output()
    assert "restart 1: 2 processes on n[1-2]" in job.output()
    assert "batch 8 (4 in each of 2 processes)" in job.output()
    one, other = end_of(undisturbed), end_of(tmp_path / "run")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_task_of_an_array_requeues_itself(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    lines = tmp_path / "runs.txt"
    written = [" ".join(f'"{word}"' for word in arguments(data, run, 40)[2:]) for run in runs]
    lines.write_text("\n".join(written) + "\n")
    job = cluster.submit("--array=1-2", "slurm/sweep.sbatch", lines)
    wait_until(lambda: all(saved_clips(run) > 0 for run in runs), 90, job.output)
    warn(job)
    settled = lambda: not {"RUNNING", "COMPLETING"} & set(job.show("JobState").split())  # noqa: E731
    wait_until(settled, 60, lambda: f"{job.show('JobState')} {job.show('Restarts')}:\n{job.output()}")
    states, restarts = job.show("JobState"), job.show("Restarts")
    output_of("scancel", job.number)
    assert (states, restarts) == ("PENDING PENDING", "1 1")


def test_a_cancelled_job_does_not_come_back(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    job = train(cluster, data, tmp_path / "run")
    wait_until(lambda: saved_clips(tmp_path / "run") > 0, 90, job.output)
    output_of("scancel", job.number)
    job.wait("CANCELLED")
    time.sleep(5)
    assert (job.show("JobState"), job.show("Restarts")) == ("CANCELLED", "0")


def test_a_job_that_fails_ends_with_its_message(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    job = cluster.submit("slurm/train.sbatch", "configs/none.yaml")
    job.wait("FAILED")
    assert "none.yaml" in job.output()
    assert job.show("Restarts") == "0"


def test_more_processes_than_train_together_are_refused(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    alone = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
    command = [sys.executable, "-m", "audiogen", *arguments(data, tmp_path / "run", 0.008), *alone]
    job = cluster.submit(
        "--ntasks-per-node=2", "--wrap", f"srun {' '.join(command)}".replace("[", "'[").replace("]", "]'")
    )
    job.wait("FAILED", "COMPLETED")
    assert "srun started 2 processes, but 1 would train together" in job.output()
    assert not (tmp_path / "run" / "metrics.csv").exists()


@pytest.mark.skipif("AUDIOGEN_SLOW" not in os.environ, reason="Slurm's shortest time is a minute: set AUDIOGEN_SLOW")
def test_a_job_whose_time_is_up_goes_on(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = train(cluster, data, run, "--time=1", "--signal=USR1@30", steps=800)
    job.restart_now()
    first = saved_clips(run)
    assert first > 0
    assert "Stopped by SIGUSR1" in job.output()
    wait_until(lambda: saved_clips(run) > first, 90, job.output)
    output_of("scancel", job.number)


def test_a_sweep_trains_a_line_in_each_task_and_its_checkpoints_are_scored(cluster: Cluster, tmp_path: Path) -> None:
    data, classifier = write_classifier(tmp_path)
    lines = tmp_path / "two runs.txt"
    runs = [tmp_path / "first run", tmp_path / "second"]
    written = []
    for run, kimg in zip(runs, (0.008, 0.016), strict=True):
        config = arguments(data, run, kimg, "--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20")[2:]
        written.append(" ".join(f'"{word}"' for word in config))
    lines.write_text("\n".join(written) + "\n")
    job = cluster.submit("--array=1-2", "slurm/sweep.sbatch", lines)
    job.wait("COMPLETED")
    assert [saved_clips(run) for run in runs] == [8, 16]
    scores = cluster.submit(
        "slurm/evaluate.sbatch", runs[1], "--evaluator", classifier, "--split", "val", "--num_clips", "16"
    )
    scores.wait("COMPLETED")
    names = [f"kimg-00000.{clips:03d}" for clips in (8, 16)]
    assert sorted(path.stem for path in (runs[1] / "evaluations").iterdir()) == names
    table = scores.output().splitlines()[-2:]
    assert [line.split()[:2] for line in table] == [[name, "fad"] for name in names]
