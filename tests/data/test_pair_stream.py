"""The order of pairs: batches are repeated until they are done."""

import pytest

from audiogen.data.stream import PairStream

CONTENT, STYLE = [0, 2, 4, 6, 8], [1, 3, 5, 7, 9]


def indices(*position: int, batch_size: int = 2, repeats: int = 3) -> list[list[int]]:
    return [[index for index, _ in batch] for batch in PairStream(CONTENT, STYLE, batch_size, repeats, *position)]


def test_batches_are_repeated_and_the_last_one_is_smaller() -> None:
    assert indices() == 3 * [[0, 1, 2, 3]] + 3 * [[4, 5, 6, 7]] + 3 * [[8, 9]]


def test_stream_can_start_at_any_position() -> None:
    assert indices(2 * 4) == indices()[4:]


def test_processes_divide_a_batch_and_none_is_empty() -> None:
    one, other = indices(0, 0, 2), indices(0, 1, 2)
    assert one == 3 * [[0, 1]] + 3 * [[4, 5]] + 3 * [[8, 9]]
    assert other == 3 * [[2, 3]] + 3 * [[6, 7]] + 3 * [[8, 9]]


def test_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 3 is not a multiple of the 2 processes"):
        PairStream(CONTENT, STYLE, 3, 1, world_size=2)
