"""Spectrograms are cut into segments and joined again without loss."""

import pytest
import torch

from audiogen.transforms.segments import join_segments, overlap_add_segments, overlapping_segments, split_segments

SILENCE = torch.full((1, 2, 3, 1), -1.0)


def clips(frames: int) -> torch.Tensor:
    return torch.rand(2, 2, 3, frames, generator=torch.Generator().manual_seed(0))


def test_segments_are_cut_in_order_and_joined_again() -> None:
    spec = clips(24)
    segments = split_segments(spec, 3)
    assert segments.shape == (6, 2, 3, 8)
    assert torch.equal(segments[4], spec[1, ..., 8:16])
    assert torch.equal(join_segments(segments, 3), spec)


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 50])
@pytest.mark.parametrize("hop", [1, 3, 4, 8])
def test_overlap_add_undoes_overlapping_segments(frames: int, hop: int) -> None:
    spec = clips(frames)
    segments = overlapping_segments(spec, 8, hop, SILENCE)
    assert segments.shape[2:] == (2, 3, 8)
    torch.testing.assert_close(overlap_add_segments(segments, hop, frames), spec)


def test_first_frame_is_in_as_many_segments_as_others() -> None:
    spec = clips(20)
    segments = overlapping_segments(spec, 8, 4, SILENCE)
    assert torch.equal(segments[:, 0, ..., :4], SILENCE.expand(2, -1, -1, 4))
    assert torch.equal(segments[:, 0, ..., 4:], spec[..., :4])
    assert torch.equal(segments[:, 1], spec[..., :8])


def test_segments_fade_linearly_into_each_other() -> None:
    segments = torch.stack([torch.zeros(1, 1, 1, 8), torch.ones(1, 1, 1, 8), torch.zeros(1, 1, 1, 8)], dim=1)
    whole = overlap_add_segments(segments, 4, 8)[0, 0, 0]
    torch.testing.assert_close(whole, torch.tensor([1, 3, 5, 7, 7, 5, 3, 1]) / 8)
