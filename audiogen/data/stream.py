"""Define the order of training clips as one endless stream that can start at any position."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

CropIndex = tuple[int, float]  # index of a clip, and position of the crop in it: 0 for its start, below 1


class BatchStream(Sampler[list[CropIndex]]):
    """Yield batches of clips and crops endlessly, each pass over the data in a new order.

    A position counts the clips of all processes since the start of training. A resumed run therefore takes the same
    clips as an uninterrupted one, and the processes of a step together take the same clips as a single process would.

    Args:
        num_clips: Number of clips in the data set.
        batch_size: Clips per step over all processes.
        seed: Seed of the orders and crops.
        position: Clips shown before the first batch.
        rank: Rank of this process.
        world_size: Number of processes.
        groups: Sizes of groups of consecutive clips, such as those of one shard, which stay together in every pass.
        domains: Indices of the clips of each of K domains. Clips are taken from the domains in turn, and each domain
            has its own passes, so that a small domain is shown as often as a large one. None to treat all clips alike.

    Raises:
        ValueError: If the batch cannot be divided evenly among the processes, or if `domains` is combined with several
            `groups`.
    """

    def __init__(
        self,
        num_clips: int,
        batch_size: int,
        seed: int,
        position: int = 0,
        rank: int = 0,
        world_size: int = 1,
        groups: Sequence[int] | None = None,
        domains: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} is not a multiple of the {world_size} processes")
        if domains is not None and groups is not None and len(groups) > 1:
            raise ValueError(
                "domains cannot be drawn evenly from shards, which are read one after another: omit --data.shards"
            )
        self.num_clips, self.batch_size, self.seed = num_clips, batch_size, seed
        self.position, self.rank, self.world_size = position, rank, world_size
        self.groups = groups or [num_clips]
        self.domains = domains

    def __iter__(self) -> Iterator[list[CropIndex]]:
        """Yield lists of batch_size / world_size crop indices, this process's slice of each batch."""
        num_own = self.batch_size // self.world_size
        position = self.position + self.rank * num_own
        num_domains = len(self.domains) if self.domains is not None else 1
        orders: list[tuple[int, list[CropIndex]]] = [(-1, [])] * num_domains
        while True:
            batch = []
            for clip_position in range(position, position + num_own):
                turn, domain = divmod(clip_position, num_domains)
                pass_index, index = divmod(turn, self.num_clips if self.domains is None else len(self.domains[domain]))
                if pass_index != orders[domain][0]:
                    orders[domain] = (pass_index, self._order(pass_index, domain))
                batch.append(orders[domain][1][index])
            yield batch
            position += self.batch_size

    def _order(self, pass_index: int, domain: int) -> list[CropIndex]:
        """Return one pass over all clips, or over those of a domain."""
        if self.domains is None:
            generator = torch.Generator().manual_seed(hash((self.seed, pass_index)))
            order = shuffled(self.groups, generator)
        else:
            generator = torch.Generator().manual_seed(hash((self.seed, pass_index, domain)))
            order = [self.domains[domain][index] for index in shuffled([len(self.domains[domain])], generator)]
        crops = torch.rand(len(order), generator=generator, dtype=torch.float64).tolist()
        return list(zip(order, crops, strict=True))


class ResumedStream(Sampler[list[CropIndex]]):
    """A stream that is recreated at each iteration from the current training position.

    The Trainer iterates once per epoch of its own, for example after `limit_train_batches`.

    Args:
        stream: Creates the stream from the current position.
    """

    def __init__(self, stream: Callable[[], Iterable[list[CropIndex]]]) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[list[CropIndex]]:
        """Yield the stream's batches."""
        yield from self.stream()


class PairStream(Sampler[list[CropIndex]]):
    """Yield batches of pairs in order, each repeated as often as it is to be evaluated.

    Args:
        content: Index of each pair's content.
        style: Index of each pair's style.
        batch_size: Pairs per batch over all processes.
        repeats: Number of times that each batch is repeated.
        position: Pairs shown before the first batch, counting repeats.
        rank: Rank of this process, which takes its slice of each batch.
        world_size: Number of processes.

    Raises:
        ValueError: If the batch cannot be divided evenly among the processes.
    """

    def __init__(
        self,
        content: Sequence[int],
        style: Sequence[int],
        batch_size: int,
        repeats: int,
        position: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} is not a multiple of the {world_size} processes")
        self.pairs = list(zip(content, style, strict=True))
        self.batch_size, self.repeats, self.position = batch_size, repeats, position
        self.rank, self.num_own = rank, batch_size // world_size

    def __iter__(self) -> Iterator[list[CropIndex]]:
        """Yield the crop indices of up to batch_size / world_size pairs, alternating content and style."""
        end = -(-len(self.pairs) // self.batch_size) * self.repeats
        # A finished run gets its last batch once more: without a batch, the Trainer would start epochs endlessly.
        for step in range(min(self.position // self.batch_size, end - 1), end):
            first = step // self.repeats * self.batch_size + self.rank * self.num_own
            pairs = self.pairs[first : first + self.num_own] or self.pairs[-1:]  # no process may have an empty batch
            yield [(index, 0.5) for pair in pairs for index in pair]


def shuffled(groups: Sequence[int], generator: torch.Generator) -> list[int]:
    """Return clips in random order, group by group in a random order of groups.

    Args:
        groups: Sizes of groups of consecutive clips.
        generator: Source of random numbers.

    Example:
        >>> shuffled([2, 3], torch.Generator().manual_seed(0))
        [1, 0, 4, 3, 2]
    """
    firsts = [sum(groups[:index]) for index in range(len(groups))]
    order = torch.randperm(len(groups), generator=generator).tolist() if len(groups) > 1 else [0]
    return [
        firsts[group] + clip for group in order for clip in torch.randperm(groups[group], generator=generator).tolist()
    ]
