"""Work shared among processes."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config

Input = TypeVar("Input")
Output = TypeVar("Output")
TASKS_PER_WORKER = 8


def parallel_map(task: Callable[[Input], Output], inputs: Sequence[Input], num_workers: int) -> Iterator[Output]:
    """Yield `task(input)` for every input, in order.

    joblib's processes do not import the script they are started from, unlike those of `multiprocessing`: a script that
    reads data needs no `if __name__ == "__main__"`.

    Args:
        task: A function that can be pickled.
        inputs: What it is called with.
        num_workers: Processes of one thread each; 1 works in this one.
    """
    if num_workers == 1:
        yield from map(task, inputs)
        return
    at_once = TASKS_PER_WORKER * num_workers  # results that wait behind a slow task are few
    with parallel_config("loky", inner_max_num_threads=1), Parallel(num_workers, batch_size=1) as parallel:
        for first in range(0, len(inputs), at_once):
            yield from parallel(delayed(task)(item) for item in inputs[first : first + at_once])
