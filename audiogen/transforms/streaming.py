"""Long sounds in bounded memory: their spectrogram block by block, and sound made of spectrograms block by block.

Blocks of a spectrogram are exactly those of the whole. Sounds of blocks are not, since phases are found by iterations
that look at one block: each begins before the end of the last one and is found so that it goes on from there.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.transforms.transform import SpectrogramTransform


class Block(NamedTuple):
    """Consecutive frames of a spectrogram, with some of those beside them.

    Attributes:
        spec: float [1, C, F, before + N + after].
        before:  Analysisof context at the start.
        num_frames: N.
    """

    spec: Tensor
    before: int
    num_frames: int


def spectrogram_blocks(
    transform: SpectrogramTransform, wavs: Iterable[Tensor], num_frames: int, context: int = 0
) -> Iterator[Block]:
    """Compute the spectrogram of a sound that comes in parts.

    Args:
        transform: The spectrogram definition.
        wavs: Parts of the waveform of any length, float [C, T], on the transform's device.
        num_frames: Of a block; the last one may have fewer.
        context:  Analysisthat a block shares with those before and after it, fewer at the ends of the sound.

    Yields:
        The blocks, equal to those of the whole spectrogram.
    """
    hop = transform.hop_length
    margin = _reach(transform)
    parts = iter(wavs)
    held = torch.zeros(transform.shape[0], 0)
    first, start, ended = 0, 0, False  # frames: where `held` begins, where the block does
    while True:
        while not ended and first * hop + held.shape[1] < (start + num_frames + context + margin) * hop:
            part = next(parts, None)
            ended = part is None
            if part is not None:
                held = torch.cat([held.to(part), part], dim=1)
        total = first - (-held.shape[1] // hop)  # frames that are there, rounded up
        stop = min(start + num_frames, total)
        if stop <= start:
            return
        begin, end = max(start - context, 0), min(stop + context, total)
        a = max(begin - margin, first)  # what lies before is silence only at the start of the sound
        wav = held[:, (a - first) * hop : (end + margin - first) * hop]
        yield Block(transform(wav[None])[..., begin - a : end - a], start - begin, stop - start)
        start = stop
        drop = max(start - context - margin - first, 0)
        held, first = held[:, drop * hop :], first + drop


def waveform_blocks(transform: SpectrogramTransform, specs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Make sound of a spectrogram that comes in blocks.

    Args:
        transform: The spectrogram definition.
        specs: Consecutive blocks of any length, float [B, C, F, L].

    Yields:
        Consecutive parts of the waveform, float [B, C, T]; together they are L hops long.
    """
    hop = transform.hop_length
    shared = 4 * _reach(transform)  # frames of two windows: the first holds what was found, in the second it fades out
    pending: Tensor | None = None  # frames from `shared` before the first one without sound on
    prefix: Tensor | None = None  # the sound of these
    for spec in chain(specs, [None]):
        if spec is not None:
            pending = spec if pending is None else torch.cat([pending, spec], dim=3)
            if pending.shape[3] < 3 * shared:
                continue  # too little to be worth the frames that are inverted twice
        if pending is None:
            return
        wav = transform.inverse(pending, prefix)
        begin = 0 if prefix is None else shared // 2 * hop
        if spec is None:
            yield wav[..., begin:]
            return
        end = pending.shape[3] - shared  # the last frames do not know yet how they go on
        yield wav[..., begin : (end - shared // 2) * hop]
        prefix = wav[..., (end - shared) * hop : end * hop]
        pending = pending[..., end - shared :]


def _reach(transform: SpectrogramTransform) -> int:
    """Return how many hops half a window reaches over, rounded up."""
    return -(-transform.analysis(1).margin // transform.hop_length)
