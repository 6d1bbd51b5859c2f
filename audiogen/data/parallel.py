"""Work shared among processes."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config

Input = TypeVar("Input")
Output = TypeVar("Output")


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
    with parallel_config("loky", inner_max_num_threads=1):
        yield from Parallel(num_workers, return_as="generator")(delayed(task)(item) for item in inputs)
