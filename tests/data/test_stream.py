"""The order of training clips: complete passes, resumable anywhere, divided evenly among processes."""

from itertools import chain, islice
from typing import Any

import pytest

from audiogen.data.stream import BatchStream, CropIndex

NUM_CLIPS = 10


def batches(count: int, **options: Any) -> list[list[CropIndex]]:
    """Return the first batches of a stream of ten clips."""
    return list(islice(BatchStream(**{"num_clips": NUM_CLIPS, "batch_size": 4, "seed": 0, **options}), count))


def crop_indices(count: int, **options: Any) -> list[CropIndex]:
    """Return the first crop indices of the stream."""
    batch_size = options.get("batch_size", 4)
    return list(chain(*batches(-(-count // batch_size), **options)))[:count]


def clips(count: int, **options: Any) -> list[int]:
    """Return the first clips of the stream."""
    return [index for index, _ in crop_indices(count, **options)]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 25])  # below, equal to and above the number of clips
def test_each_pass_shows_every_clip_exactly_once(batch_size: int) -> None:
    shown = clips(100, batch_size=batch_size)
    for start in range(0, 100, NUM_CLIPS):
        assert sorted(shown[start : start + NUM_CLIPS]) == list(range(NUM_CLIPS))


def test_each_pass_has_a_new_order() -> None:
    shown = clips(100)
    assert len({tuple(shown[start : start + NUM_CLIPS]) for start in range(0, 100, NUM_CLIPS)}) == 10


def test_first_clips_of_passes_are_spread_over_the_data() -> None:
    firsts = clips(NUM_CLIPS * 400)[::NUM_CLIPS]
    counts = [firsts.count(clip) for clip in range(NUM_CLIPS)]
    assert min(counts) > 40 - 4 * 6  # binomial with mean 40 and deviation 6
    assert max(counts) < 40 + 4 * 6


@pytest.mark.parametrize("position", [4, 12, 20, 40])  # within a pass, across its end, at its start
def test_resuming_at_a_position_equals_an_uninterrupted_stream(position: int) -> None:
    assert batches(10, position=position) == batches(10 + position // 4)[position // 4 :]


def test_position_need_not_be_a_multiple_of_the_batch() -> None:
    assert crop_indices(20, position=7) == crop_indices(27)[7:]


def test_iterating_again_starts_again_at_the_position() -> None:
    stream = BatchStream(NUM_CLIPS, 4, seed=0, position=8)
    assert list(islice(stream, 5)) == list(islice(stream, 5))


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("position", [0, 12])
def test_ranks_together_take_the_clips_of_one_process(world_size: int, position: int) -> None:
    ranks = [batches(15, position=position, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(batch) for rank in ranks for batch in rank} == {4 // world_size}
    together = [list(chain(*slices)) for slices in zip(*ranks, strict=True)]
    assert together == batches(15, position=position)


def test_batch_size_does_not_change_the_order_of_clips() -> None:
    assert crop_indices(60, batch_size=3) == crop_indices(60, batch_size=20)


def test_seeds_differ_and_one_seed_repeats() -> None:
    orders = {seed: tuple(clips(20, seed=seed)) for seed in range(10)}
    assert len(set(orders.values())) == 10
    assert tuple(clips(20, seed=3)) == orders[3]


def test_order_is_the_same_on_every_machine() -> None:
    # Pinned: a run resumed on another machine or after an update must take the same clips.
    assert clips(10) == [0, 5, 1, 4, 2, 9, 3, 6, 8, 7]


def test_crops_are_spread_evenly_and_differ_from_pass_to_pass() -> None:
    crops = [crop for _, crop in crop_indices(4000)]
    assert 0 <= min(crops) < 0.01
    assert 0.99 < max(crops) < 1
    assert sum(crops) / 4000 == pytest.approx(0.5, abs=4 * 0.29 / 4000**0.5)
    assert len(set(crops)) == 4000


def test_batch_that_cannot_be_divided_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 4 is not a multiple of the 3 processes"):
        BatchStream(NUM_CLIPS, 4, seed=0, world_size=3)


DOMAINS = [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9]]


def test_domains_take_turns_each_in_whole_passes() -> None:
    shown = clips(3 * 28, domains=DOMAINS)
    for index, domain in enumerate(DOMAINS):
        of_domain = shown[index::3]
        for start in range(0, 28, len(domain)):
            assert sorted(of_domain[start : start + len(domain)]) == domain
    assert len({tuple(shown[0::3][start : start + 7]) for start in range(0, 28, 7)}) == 4


def test_domains_can_be_resumed_anywhere_and_divided() -> None:
    assert crop_indices(20, position=7, domains=DOMAINS) == crop_indices(27, domains=DOMAINS)[7:]
    whole = batches(5, batch_size=6, domains=DOMAINS)
    slices = [batches(5, batch_size=6, domains=DOMAINS, rank=rank, world_size=2) for rank in range(2)]
    assert [one + other for one, other in zip(*slices, strict=True)] == whole


def test_crops_of_a_domain_differ_from_pass_to_pass() -> None:
    of_last = [crop for index, crop in crop_indices(30, domains=DOMAINS) if index == 9]
    assert len(set(of_last)) == 10


def test_domains_in_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="domains cannot be drawn evenly from shards"):
        BatchStream(10, 4, seed=0, groups=[5, 5], domains=DOMAINS)
