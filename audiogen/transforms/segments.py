"""Cut spectrograms into segments: adjacent ones for training, overlapping ones for converting long sounds."""

import torch
from torch import Tensor

from audiogen.transforms.analysis import overlap_add


def split_segments(spec: Tensor, num: int) -> Tensor:
    """Cut each clip into `num` adjacent segments: float [B, C, F, L] -> [num B, C, F, L / num], clip by clip."""
    return spec.unflatten(3, (num, -1)).movedim(3, 1).flatten(0, 1)


def join_segments(segments: Tensor, num: int) -> Tensor:
    """Invert `split_segments`: float [num B, C, F, L / num] -> [B, C, F, L]."""
    return segments.unflatten(0, (-1, num)).movedim(1, 3).flatten(3)


def overlapping_segments(spec: Tensor, length: int, hop: int, silence: Tensor) -> Tensor:
    """Cut spectrograms into overlapping segments. Inverse: `overlap_add_segments`.

    The first segment starts `length - hop` frames before the spectrogram, so every frame is covered equally often.

    Args:
        spec: float [B, C, F, L].
        length: Frames per segment.
        hop: Frames between the starts of consecutive segments, at most `length`.
        silence: Padding for both ends, float [1, C, F, 1].

    Returns:
        float [B, P, C, F, length] with P segments per spectrogram.
    """
    lead = length - hop
    num = -(-(spec.shape[3] + lead) // hop)
    ends = [silence.expand(len(spec), -1, -1, frames) for frames in (lead, num * hop)]
    padded = torch.cat([ends[0], spec, ends[1]], dim=3)
    return padded.unfold(3, length, hop)[:, :, :, :num].movedim(3, 1)


def overlap_add_segments(segments: Tensor, hop: int, num_frames: int) -> Tensor:
    """Add overlapping segments, weighted so that each fades linearly into the next.

    Args:
        segments: float [B, P, C, F, length], as returned by `overlapping_segments`.
        hop: Frames between the starts of consecutive segments.
        num_frames: L of the result.

    Returns:
        float [B, C, F, L].
    """
    length = segments.shape[4]
    centre = torch.arange(length, device=segments.device) + 0.5
    fade = torch.minimum(centre, length - centre).div(max(length - hop, 0.5)).clamp_max(1)  # [length]
    total = overlap_add((segments * fade).movedim(1, 3).flatten(0, 2), hop)  # [B C F, L']
    weight = overlap_add(fade.expand(1, segments.shape[1], -1), hop)  # [1, L']
    whole = (total / weight).unflatten(0, (len(segments), *segments.shape[2:4]))
    return whole[..., length - hop :][..., :num_frames]
