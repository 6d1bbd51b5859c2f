"""What train.sbatch makes of how a training ends, with srun and scontrol replaced by scripts."""

import os
import subprocess
from pathlib import Path

import pytest

BATCH_FILE = Path("slurm/train.sbatch").resolve()


class Stage:
    """A folder with programs that stand for Slurm's.

    Args:
        folder: For all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = "RUNNING"

    def run(self, status: int, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the batch file; the training ends with a status."""
        scripts = {
            "srun": f'printf "%s\\n" "$@" >arguments; exit {status}',
            "scontrol": f'[[ $1 == requeue ]] && echo $2 >>requeued; echo "JobId=7 JobState={self.state} x=y"',
            "sleep": "exit 0",
        }
        for name, script in scripts.items():
            path = self.folder / name
            path.write_text(f"#!/usr/bin/env bash\n{script}\n")
            path.chmod(0o755)
        slurm = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "n1"}
        environment = os.environ | slurm | variables | {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        command = ["bash", BATCH_FILE, *(args or ("config.yaml",))]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def requeued(self) -> int:
        """Return how often the job was requeued."""
        path = self.folder / "requeued"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_training_that_is_done_is_not_requeued(stage: Stage) -> None:
    assert stage.run(0).returncode == 0
    assert stage.requeued() == 0


def test_a_training_that_saved_is_requeued_however_often(stage: Stage) -> None:
    for number in range(1, 7):
        stage.run(75)
        assert stage.requeued() == number


@pytest.mark.parametrize("status", [134, 137, 139, 143])
def test_a_killed_training_is_requeued_three_times_in_a_row(stage: Stage, status: int) -> None:
    for number in (1, 2, 3):
        stage.run(status)
        assert stage.requeued() == number
    given_up = stage.run(status)
    assert given_up.returncode == status
    assert "killed 3 times in a row: not started again" in given_up.stderr
    assert stage.requeued() == 3


def test_an_orderly_end_forgets_crashes(stage: Stage) -> None:
    for status in (137, 137, 75, 137, 137, 137):
        stage.run(status)
    assert stage.requeued() == 6


@pytest.mark.parametrize("status", [1, 2, 74])
def test_a_training_that_failed_is_not_requeued(stage: Stage, status: int) -> None:
    assert stage.run(status).returncode == status
    assert stage.requeued() == 0


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED"])
def test_a_cancelled_job_is_not_requeued(stage: Stage, state: str) -> None:
    stage.state = state
    assert stage.run(75).returncode == 75
    assert stage.requeued() == 0


def test_flags_reach_the_training_as_they_were_given(stage: Stage) -> None:
    stage.run(0, "a config.yaml", "--data.root", "two words; $(touch evil)", "--model.targets", "[a, b]")
    given = (stage.folder / "arguments").read_text().splitlines()
    assert given[given.index("--config") + 1] == "a config.yaml"
    assert given[given.index("--data.root") + 1] == "two words; $(touch evil)"
    assert given[given.index("--model.targets") + 1] == "[a, b]"
    assert given[given.index("--trainer.devices") + 1] == "2"
    assert given[-2:] == ["--trainer.strategy", "ddp"]
    assert not (stage.folder / "evil").exists()


def test_one_process_needs_no_strategy(stage: Stage) -> None:
    stage.run(0, SLURM_NTASKS="1")
    assert "--trainer.strategy" not in (stage.folder / "arguments").read_text().splitlines()


def test_a_missing_config_is_told(stage: Stage) -> None:
    done = subprocess.run(["bash", BATCH_FILE], cwd=stage.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch")


@pytest.mark.parametrize(
    ("line", "message"),
    [("config.yaml --model.r1_gamma 0.5 --name Joe's", "an unmatched quote"), ("", "no line 1")],
)
def test_a_line_of_a_sweep_that_cannot_be_read_is_told(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.txt").write_text(f"{line}\n")
    command = ["bash", str(BATCH_FILE.parent / "sweep.sbatch"), str(tmp_path / "sweep.txt")]
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
