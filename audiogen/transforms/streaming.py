"""Compute spectrograms and waveforms of long sounds block by block, in bounded memory.

Spectrogram blocks equal those of the whole sound exactly. Waveform blocks do not, since phase methods iterate on one
block at a time: each block overlaps the end of the previous one and is constrained to continue it.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.transforms.transform import SpectrogramTransform


class Block(NamedTuple):
    """Consecutive frames of a spectrogram, with context frames at both ends.

    Attributes:
        spec: float [1, C, F, before + N + after].
        before: Number of context frames at the start.
        num_frames: N, the number of frames without context.
    """

    spec: Tensor
    before: int
    num_frames: int


def spectrogram_blocks(
    transform: SpectrogramTransform, wavs: Iterable[Tensor], num_frames: int, context: int = 0
) -> Iterator[Block]:
    """Compute the spectrogram of a waveform given in parts.

    Args:
        transform: Transform that defines the spectrogram.
        wavs: Consecutive parts of the waveform, float [C, T] of any T, on the transform's device.
        num_frames: N, the frames of a block; the last one may have fewer.
        context: Context frames at each end of a block; fewer at the ends of the sound.

    Yields:
        Blocks equal to those of the whole spectrogram.
    """
    hop = transform.hop_length
    margin = _reach(transform)
    parts = iter(wavs)
    held = torch.zeros(transform.shape[0], 0)
    first, start, ended = 0, 0, False  # first frame of `held`, first frame of the block
    while True:
        while not ended and first * hop + held.shape[1] < (start + num_frames + context + margin) * hop:
            part = next(parts, None)
            ended = part is None
            if part is not None:
                held = torch.cat([held.to(part), part], dim=1)
        total = first - (-held.shape[1] // hop)  # frames available so far, rounded up
        stop = min(start + num_frames, total)
        if stop <= start:
            return
        begin, end = max(start - context, 0), min(stop + context, total)
        a = max(begin - margin, first)  # earlier samples are silence only at the start of the sound
        wav = held[:, (a - first) * hop : (end + margin - first) * hop]
        yield Block(transform(wav[None])[..., begin - a : end - a], start - begin, stop - start)
        start = stop
        drop = max(start - context - margin - first, 0)
        held, first = held[:, drop * hop :], first + drop


def waveform_blocks(transform: SpectrogramTransform, specs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Invert a spectrogram given in blocks.

    Args:
        transform: Transform that defines the spectrogram.
        specs: Consecutive blocks, float [B, C, F, L] of any L.

    Yields:
        Consecutive parts of the waveform, float [B, C, T]; in total as many hops as there are frames.
    """
    hop = transform.hop_length
    shared = 4 * _reach(transform)  # frames of two windows: the result is fixed in the first and blended in the second
    pending: Tensor | None = None  # frames not yet inverted, preceded by `shared` frames of overlap
    prefix: Tensor | None = None  # the waveform already found for the overlap
    for spec in chain(specs, [None]):
        if spec is not None:
            pending = spec if pending is None else torch.cat([pending, spec], dim=3)
            if pending.shape[3] < 3 * shared:
                continue  # too short to be worth inverting the overlap twice
        if pending is None:
            return
        wav = transform.inverse(pending, prefix)
        begin = 0 if prefix is None else shared // 2 * hop
        if spec is None:
            yield wav[..., begin:]
            return
        end = pending.shape[3] - shared  # the last frames still lack what follows them
        yield wav[..., begin : (end - shared // 2) * hop]
        prefix = wav[..., (end - shared) * hop : end * hop]
        pending = pending[..., end - shared :]


def _reach(transform: SpectrogramTransform) -> int:
    """Return half the window length in hops, rounded up."""
    return -(-transform.analysis(1).margin // transform.hop_length)
