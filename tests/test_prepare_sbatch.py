"""slurm/prepare.sbatch, run as a shell script with the variables that Slurm would set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tiny_run import write_classes

SCRIPT = Path("slurm/prepare.sbatch")
TRANSFORM = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 32, "num_frames": 32}


def environment(python: Path | str, **variables: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return (
        kept | {"PYTHON": str(python)} | {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in variables.items()}
    )


def submit(folder: Path, *args: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run the script with an interpreter that only tells its arguments."""
    (folder / "my python").write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
    (folder / "my python").chmod(0o755)
    env = environment(folder / "my python", **variables)
    return subprocess.run(["bash", SCRIPT, *args], capture_output=True, text=True, env=env)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ({"ID": 0, "COUNT": 16, "MIN": 0, "MAX": 15, "STEP": 1}, "0/16"),
        ({"ID": 15, "COUNT": 16, "MIN": 0, "MAX": 15, "STEP": 1}, "15/16"),
        ({"ID": 1, "COUNT": 16, "MIN": 1, "MAX": 16, "STEP": 1}, "0/16"),
        ({"ID": 109, "COUNT": 10, "MIN": 100, "MAX": 109, "STEP": 1}, "9/10"),
        ({"ID": 6, "COUNT": 4, "MIN": 0, "MAX": 6, "STEP": 2}, "3/4"),
        ({"ID": 5, "COUNT": 4, "MIN": 5, "MAX": 12, "STEP": 2}, "0/4"),
        ({"ID": 7, "COUNT": 1, "MIN": 7, "MAX": 7, "STEP": 1}, "0/1"),
        ({"ID": 3, "COUNT": 4}, "3/4"),
        ({"ID": 4, "COUNT": 4, "MIN": 1}, "3/4"),
    ],
)
def test_task_of_an_array_computes_its_part(array: dict[str, int], expected: str, tmp_path: Path) -> None:
    done = submit(tmp_path, "--config", "a.yaml", **array)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"-m|audiogen|prepare|--config|a.yaml|--part|{expected}|"


def test_job_without_an_array_computes_all(tmp_path: Path) -> None:
    assert submit(tmp_path, "--config", "a.yaml").stdout == "-m|audiogen|prepare|--config|a.yaml|"


def test_arguments_arrive_as_they_were_given(tmp_path: Path) -> None:
    args = ["--data.root", 'a folder/it\'s "quoted" $HOME *', "", "--data.preprocess", "[{class_path: a.B}]"]
    assert submit(tmp_path, *args).stdout == "|".join(["-m", "audiogen", "prepare", *args, ""])


def test_list_of_tasks_is_refused_because_it_does_not_tell_how_many_parts_there_are(tmp_path: Path) -> None:
    done = submit(tmp_path, ID=7, COUNT=2, MIN=3, MAX=7, STEP=1)
    assert (done.returncode, done.stdout) == (2, "")
    assert "tasks must be a whole range, such as --array=0-15" in done.stderr


def test_array_makes_a_whole_store_and_may_be_submitted_again(tmp_path: Path) -> None:
    write_classes(tmp_path / "data", {"low": 300, "high": 2000}, num=3)
    dataset = {"class_path": "audiogen.data.datasets.folder.ClassFolders"}
    transform = {"class_path": "audiogen.transforms.mel.LogMel", "init_args": TRANSFORM}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"dataset": dataset, "transform": transform}}))
    options = {"config": "config.yaml", "data.root": "data", "data.cache": "cache"}
    command = ["bash", str(SCRIPT), *(part for name, at in options.items() for part in (f"--{name}", tmp_path / at))]
    for expected in ("3 of 6 files computed", "3 of 6 files were there"):
        tasks = []
        for task in (5, 6):
            env = environment(sys.executable, ID=task, COUNT=2, MIN=5, MAX=6, STEP=1)
            tasks.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env))
        printed = [task.communicate(timeout=120)[0] for task in tasks]
        assert [task.returncode for task in tasks] == [0, 0]
        assert [f"Part {index}/2: {expected}" in text for index, text in enumerate(printed)] == [True, True]
        assert "Whole: 6 files in " in "".join(printed)
    assert len(list((tmp_path / "cache").rglob("index.npz"))) == 1
