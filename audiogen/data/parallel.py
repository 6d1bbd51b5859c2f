"""Work shared among processes."""

import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from threading import Thread
from typing import TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from audiogen.data.datasets.dataset import DatasetError

Input = TypeVar("Input")
Output = TypeVar("Output")
TASKS_PER_WORKER = 8  # at once: results that wait behind a slow task are few
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_WATCHED_EVERY = 0.5  # seconds


def parallel_map(
    task: Callable[[Input], Output],
    inputs: Sequence[Input],
    num_workers: int,
    name: Callable[[Input], str] = repr,
) -> Generator[Output, None, None]:
    """Yield `task(input)` for every input, in order.

    loky's processes do not import the script they are started from, unlike those of `multiprocessing`: a script that
    reads data needs no `if __name__ == "__main__"`. They end when this process does, however it ends.

    When a process is killed, for example because memory ran out, the inputs it may have been working on are repeated,
    one at a time.

    Args:
        task: A function that can be pickled.
        inputs: What it is called with.
        num_workers: Processes of one thread each; 1 works in this one.
        name: Tells what an input is, for the message on a process that was killed.

    Raises:
        DatasetError: Where a process was killed again at the same input; it is named.
    """
    if num_workers == 1:
        yield from map(task, inputs)
        return
    done, at_once = 0, TASKS_PER_WORKER * num_workers
    while done < len(inputs):
        try:
            for result in _pool(task, inputs[done:], num_workers, at_once):
                yield result
                done += 1
        except TerminatedWorkerError:
            last = min(done + at_once, len(inputs))
            suspects = f"{name(inputs[done])} to {name(inputs[last - 1])}"
            warnings.warn(
                f"a worker process was killed while working on one of {suspects}: these are repeated one at a time",
                stacklevel=2,
            )
            try:
                for result in _pool(task, inputs[done:last], num_workers=1, at_once=1):
                    yield result
                    done += 1
            except TerminatedWorkerError as error:
                raise DatasetError(
                    f"a worker process was killed twice while working on {name(inputs[done])}, probably because memory "
                    "ran out. Everything before is kept: free some memory or leave this out, then start again"
                ) from error


def _pool(
    task: Callable[[Input], Output], inputs: Sequence[Input], num_workers: int, at_once: int
) -> Generator[Output, None, None]:
    """Yield `task(input)` for every input, in order, by new processes that end with the generator.

    Raises:
        TerminatedWorkerError: Where one of them was killed.
    """
    pool = ProcessPoolExecutor(num_workers, initializer=_end_with, initargs=(os.getpid(),), env=_ONE_THREAD)
    try:
        rest = iter(inputs)
        waiting = deque(pool.submit(task, item) for item in islice(rest, at_once))
        while waiting:
            yield waiting[0].result()
            waiting.popleft()
            waiting.extend(pool.submit(task, item) for item in islice(rest, 1))
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone: nobody else would."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCHED_EVERY)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
