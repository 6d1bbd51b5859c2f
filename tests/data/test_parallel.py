"""Work in several processes: in order, whatever becomes of the processes, none of which outlives the first one."""

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
    """Return the item's square; kill this process for one item, so many times, which are counted in a folder."""
    deaths = len(list(folder.glob("death-*")))
    if item == deadly and deaths < times:
        (folder / f"death-{deaths}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"pid-{os.getpid()}").touch()
    return item**2


def test_results_are_in_order_and_processes_of_one_thread_end(tmp_path: Path) -> None:
    task = partial(work, folder=tmp_path, deadly=-1, times=0)
    assert list(parallel_map(task, range(NUM), 2)) == [item**2 for item in range(NUM)]
    pids = [int(path.name.split("-")[1]) for path in tmp_path.glob("pid-*")]
    assert pids
    assert os.getpid() not in pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert next(parallel_map(_threads, [0, 1], 2)) == "1"


def _threads(item: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def test_killed_process_is_named_and_its_work_is_done_again(tmp_path: Path) -> None:
    task = partial(work, folder=tmp_path, deadly=20, times=1)
    with pytest.warns(
        UserWarning, match=r"a worker process was killed while working on one of <\d+> to <\d+>: these are repeated"
    ):
        found = list(parallel_map(task, range(NUM), 2, "<{}>".format))
    assert found == [item**2 for item in range(NUM)]


@pytest.mark.filterwarnings("ignore:a worker process was killed")
def test_process_that_is_killed_again_at_the_same_input_ends_the_work_naming_it(tmp_path: Path) -> None:
    task = partial(work, folder=tmp_path, deadly=20, times=9)
    found: list[int] = []
    with pytest.raises(
        DatasetError, match=r"a worker process was killed twice while working on <20>.*Everything before is kept"
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


def test_processes_end_when_the_first_one_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)]) as process:
        while len(found := list(tmp_path.glob("pid-*"))) < 2:
            time.sleep(0.05)
        process.kill()
    pids = [int(path.name.split("-")[1]) for path in found]
    for _ in range(400):  # ends as soon as they have; a machine that is busy may take long
        if not (alive := [pid for pid in pids if _runs(pid)]):
            break
        time.sleep(0.1)
    assert alive == []


def _runs(pid: int) -> bool:
    """Tell whether a process is neither gone nor only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
