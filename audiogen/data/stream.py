"""The order of training clips: one endless stream that can be entered at any position."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

CropIndex = tuple[int, float]  # index of a clip, and where in it to crop: 0 at its start, below 1


class BatchStream(Sampler[list[CropIndex]]):
    """Yield batches of clips and crops for ever, each pass over the data in a new order.

    A position counts clips over all processes from the start of the training, so a continued run takes the clips that
    an uninterrupted one would have, and the processes of a step together take the clips that one process would.

    Args:
        num_clips: Clips in the data set.
        batch_size: Clips per step over all processes.
        seed: Of the orders.
        position: Clips shown before the first batch.
        rank: This process.
        world_size: Processes.
        groups: Numbers of clips that lie together, such as in one shard; they stay together in every pass.
        parts: Indices of the clips of each of K parts that are drawn from in turn, each in passes of its own, so that
            a small one is shown as often as a large one; by default all clips are one.

    Raises:
        ValueError: Where the batch cannot be shared evenly among the processes, and for parts of clips in groups.
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
        parts: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} is not a multiple of the {world_size} processes")
        if parts is not None and groups is not None and len(groups) > 1:
            raise ValueError(
                "domains cannot be drawn evenly from shards, which are read one after another: leave out --data.shards"
            )
        self.num_clips, self.batch_size, self.seed = num_clips, batch_size, seed
        self.position, self.rank, self.world_size = position, rank, world_size
        self.groups = groups or [num_clips]
        self.parts = parts

    def __iter__(self) -> Iterator[list[CropIndex]]:
        """Yield lists of batch_size / world_size crop indices."""
        share = self.batch_size // self.world_size
        position = self.position + self.rank * share
        num_parts = len(self.parts) if self.parts is not None else 1
        orders: list[tuple[int, list[CropIndex]]] = [(-1, [])] * num_parts
        while True:
            batch = []
            for place in range(position, position + share):
                turn, part = divmod(place, num_parts)
                pass_index, index = divmod(turn, self.num_clips if self.parts is None else len(self.parts[part]))
                if pass_index != orders[part][0]:
                    orders[part] = (pass_index, self._order(pass_index, part))
                batch.append(orders[part][1][index])
            yield batch
            position += self.batch_size

    def _order(self, pass_index: int, part: int) -> list[CropIndex]:
        """Return one pass over all clips, or over those of a part."""
        if self.parts is None:
            generator = torch.Generator().manual_seed(hash((self.seed, pass_index)))
            order = shuffled(self.groups, generator)
        else:
            generator = torch.Generator().manual_seed(hash((self.seed, pass_index, part)))
            order = [self.parts[part][place] for place in shuffled([len(self.parts[part])], generator)]
        crops = torch.rand(len(order), generator=generator, dtype=torch.float64).tolist()
        return list(zip(order, crops, strict=True))


class Entered(Sampler[list[CropIndex]]):
    """Batches of a stream that is entered anew at each iteration, at the position of then.

    The Trainer iterates once for each of its epochs, such as after `limit_train_batches`.

    Args:
        stream: Makes the stream from the position that training is at.
    """

    def __init__(self, stream: Callable[[], Iterable[list[CropIndex]]]) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[list[CropIndex]]:
        """Yield the stream's batches."""
        yield from self.stream()


class PairStream(Sampler[list[CropIndex]]):
    """Yield the pairs in batches, each as often as it is to be evaluated, in their order.

    Args:
        content: Indices of the contents, in the order of the pairs.
        style: Indices of the styles.
        batch_size: Pairs over all processes.
        repeats: How often a batch comes.
        position: Pairs shown before the first batch, counting repetitions.
        rank: This process, which takes its share of each batch.
        world_size: Processes.

    Raises:
        ValueError: Where the batch cannot be shared evenly among the processes.
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
        self.rank, self.share = rank, batch_size // world_size

    def __iter__(self) -> Iterator[list[CropIndex]]:
        """Yield the crop indices of up to batch_size / world_size pairs, content and style alternating."""
        end = -(-len(self.pairs) // self.batch_size) * self.repeats
        # A run that has ended gets its last batch once more: without any, the Trainer would start epoch after epoch.
        for place in range(min(self.position // self.batch_size, end - 1), end):
            first = place // self.repeats * self.batch_size + self.rank * self.share
            pairs = self.pairs[first : first + self.share] or self.pairs[-1:]  # each process has something to do
            yield [(index, 0.5) for pair in pairs for index in pair]


def shuffled(groups: Sequence[int], generator: torch.Generator) -> list[int]:
    """Return the clips of all groups in a random order, group by group in a random order.

    Example:
        >>> shuffled([2, 3], torch.Generator().manual_seed(0))
        [1, 0, 4, 3, 2]
    """
    firsts = [sum(groups[:index]) for index in range(len(groups))]
    places = torch.randperm(len(groups), generator=generator).tolist() if len(groups) > 1 else [0]
    return [
        firsts[place] + clip for place in places for clip in torch.randperm(groups[place], generator=generator).tolist()
    ]
