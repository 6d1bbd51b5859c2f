"""Distribute work among processes."""

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
TASKS_PER_WORKER = 8  # submitted at once; few results then wait behind a slow task
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_POLL_SECONDS = 0.5


def parallel_map(
    task: Callable[[Input], Output],
    inputs: Sequence[Input],
    num_workers: int,
    name: Callable[[Input], str] = repr,
) -> Generator[Output, None, None]:
    """Yield `task(input)` for every input, in order.

    The workers are loky's processes, which unlike those of `multiprocessing` do not import the main script. A script
    that loads data therefore needs no `if __name__ == "__main__"`. The workers exit when this process does, however it
    ends.

    If a worker is killed, for example because memory ran out, the inputs it may have been working on are repeated one
    at a time.

    Args:
        task: A function that can be pickled.
        inputs: Arguments to call it with.
        num_workers: Number of single-threaded worker processes. 1 works in this process.
        name: Returns the name of an input for error messages.

    Raises:
        DatasetError: If a worker is killed twice at the same input. The message names it.
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
                f"a worker process was killed while working on one of {suspects}; repeating these one at a time",
                stacklevel=2,
            )
            try:
                for result in _pool(task, inputs[done:last], num_workers=1, at_once=1):
                    yield result
                    done += 1
            except TerminatedWorkerError as error:
                raise DatasetError(
                    f"a worker process was killed twice while working on {name(inputs[done])}, probably because memory "
                    "ran out. Results so far are kept. Free some memory or remove this input, then start again"
                ) from error


def _pool(
    task: Callable[[Input], Output], inputs: Sequence[Input], num_workers: int, at_once: int
) -> Generator[Output, None, None]:
    """Yield `task(input)` for every input, in order, from new processes that exit with the generator.

    Raises:
        TerminatedWorkerError: If a process is killed.
    """
    pool = ProcessPoolExecutor(num_workers, initializer=_exit_with, initargs=(os.getpid(),), env=_ONE_THREAD)
    try:
        rest = iter(inputs)
        waiting = deque(pool.submit(task, item) for item in islice(rest, at_once))
        while waiting:
            yield waiting[0].result()
            waiting.popleft()
            waiting.extend(pool.submit(task, item) for item in islice(rest, 1))
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _exit_with(parent: int) -> None:
    """Exit this process when its parent exits; nothing else would end it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
