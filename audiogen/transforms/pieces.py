"""Spectrograms in pieces: side by side, as models are trained, and overlapping, as long sounds are converted."""

import torch
from torch import Tensor

from audiogen.transforms.frames import overlap_add


def split_pieces(spec: Tensor, num: int) -> Tensor:
    """Cut clips, float [B, C, F, L], into `num` pieces each, [num B, C, F, L / num], a clip's one after another."""
    return spec.unflatten(3, (num, -1)).movedim(3, 1).flatten(0, 1)


def join_pieces(pieces: Tensor, num: int) -> Tensor:
    """Undo `split_pieces`."""
    return pieces.unflatten(0, (-1, num)).movedim(1, 3).flatten(3)


def overlapping_pieces(spec: Tensor, length: int, step: int, silence: Tensor) -> Tensor:
    """Cut spectrograms into pieces, each `step` frames after the one before, of which every frame is in as many.

    Inverse: `crossfade`. The grid is that of the first frame: the first piece begins length - step frames before it.

    Args:
        spec: float [B, C, F, L].
        length: Frames of a piece.
        step: At most `length`.
        silence: What lies before and after, float [1, C, F, 1].

    Returns:
        float [B, P, C, F, length].
    """
    lead = length - step
    num = -(-(spec.shape[3] + lead) // step)
    ends = [silence.expand(len(spec), -1, -1, frames) for frames in (lead, num * step)]
    padded = torch.cat([ends[0], spec, ends[1]], dim=3)
    return padded.unfold(3, length, step)[:, :, :, :num].movedim(3, 1)


def crossfade(pieces: Tensor, step: int, num_frames: int) -> Tensor:
    """Put overlapping pieces together again; where they overlap, one fades into the next.

    Args:
        pieces: float [B, P, C, F, length], as of `overlapping_pieces`.
        step: Frames from the start of one to that of the next.
        num_frames: L of the whole.

    Returns:
        float [B, C, F, L].
    """
    length = pieces.shape[4]
    place = torch.arange(length, device=pieces.device) + 0.5
    fade = torch.minimum(place, length - place).div(max(length - step, 0.5)).clamp_max(1)  # [length]
    total = overlap_add((pieces * fade).movedim(1, 3).flatten(0, 2), step)  # [B C F, L']
    weight = overlap_add(fade.expand(1, pieces.shape[1], -1), step)  # [1, L']
    whole = (total / weight).unflatten(0, (len(pieces), *pieces.shape[2:4]))
    return whole[..., length - step :][..., :num_frames]
