"""Work in several processes: results are in order whatever happens, and no worker outlives the main process."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.parallel import parallel_map

NUM = 40


def work(item: int, folder: Path, deadly: int, times: int) -> int:
    """Return the item's square; kill this process for one item, a number of times counted in a folder."""
    deaths = len(list(folder.glob("death-*")))
    if item == deadly and deaths < times:
        (folder / f"death-{deaths}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"pid-{os.getpid()}").touch()
    return item**2


def test_results_are_in_order_and_single_threaded_workers_exit(tmp_path: Path) -> None:
    task = partial(work, folder=tmp_path, deadly=-1, times=0)
    assert list(parallel_map(task, range(NUM), 2)) == [item**2 for item in range(NUM)]
    pids = [int(path.name.split("-")[1]) for path in tmp_path.glob("pid-*")]
    assert pids
    assert os.getpid() not in pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert next(parallel_map(_threads, [0, 1], 2)) == "1"


def _threads(item: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def test_killed_worker_is_reported_and_its_work_is_repeated(tmp_path: Path) -> None:
    task = partial(work, folder=tmp_path, deadly=20, times=1)
    with pytest.warns(
        UserWarning, match=r"a worker process was killed while working on one of <\d+> to <\d+>; repeating these"
    ):
        found = list(parallel_map(task, range(NUM), 2, "<{}>".format))
    assert found == [item**2 for item in range(NUM)]


@pytest.mark.filterwarnings("ignore:a worker process was killed")
def test_worker_killed_twice_at_the_same_input_is_an_error_naming_it(tmp_path: Path) -> None:
    task = partial(work, folder=tmp_path, deadly=20, times=9)
    found: list[int] = []
    with pytest.raises(
        DatasetError, match=r"a worker process was killed twice while working on <20>.*Results so far are kept"
    ):
        found.extend(parallel_map(task, range(NUM), 2, "<{}>".format))
    assert found == [item**2 for item in range(20)]
    assert len(list(tmp_path.glob("death-*"))) == 2


SCRIPT = """
import sys, time
from pathlib import Path
from audiogen.data.parallel import parallel_map

def wait(folder):
    import os
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(600)

list(parallel_map(wait, [sys.argv[1]] * 2, 2))
"""


def test_workers_exit_when_the_main_process_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)]) as process:
        while len(found := list(tmp_path.glob("pid-*"))) < 2:
            time.sleep(0.05)
        process.kill()
    pids = [int(path.name.split("-")[1]) for path in found]
    for _ in range(400):  # stops as soon as they have exited, which may take long on a busy machine
        if not (alive := [pid for pid in pids if _runs(pid)]):
            break
        time.sleep(0.1)
    assert alive == []


def _runs(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
