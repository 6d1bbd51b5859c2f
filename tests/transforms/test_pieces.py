"""Cutting spectrograms into pieces, and putting them together again."""

import pytest
import torch

from audiogen.transforms.pieces import crossfade, join_pieces, overlapping_pieces, split_pieces

SILENCE = torch.full((1, 2, 3, 1), -1.0)


def clips(frames: int) -> torch.Tensor:
    return torch.rand(2, 2, 3, frames, generator=torch.Generator().manual_seed(0))


def test_pieces_are_cut_in_order_and_joined_again() -> None:
    spec = clips(24)
    pieces = split_pieces(spec, 3)
    assert pieces.shape == (6, 2, 3, 8)
    assert torch.equal(pieces[4], spec[1, ..., 8:16])
    assert torch.equal(join_pieces(pieces, 3), spec)


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 50])
@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_crossfade_undoes_overlapping_pieces(frames: int, step: int) -> None:
    spec = clips(frames)
    pieces = overlapping_pieces(spec, 8, step, SILENCE)
    assert pieces.shape[2:] == (2, 3, 8)
    torch.testing.assert_close(crossfade(pieces, step, frames), spec)


def test_grid_begins_so_that_the_first_frame_is_in_as_many_pieces_as_others() -> None:
    spec = clips(20)
    pieces = overlapping_pieces(spec, 8, 4, SILENCE)
    assert torch.equal(pieces[:, 0, ..., :4], SILENCE.expand(2, -1, -1, 4))
    assert torch.equal(pieces[:, 0, ..., 4:], spec[..., :4])
    assert torch.equal(pieces[:, 1], spec[..., :8])


def test_one_piece_fades_into_the_next_in_a_line() -> None:
    pieces = torch.stack([torch.zeros(1, 1, 1, 8), torch.ones(1, 1, 1, 8), torch.zeros(1, 1, 1, 8)], dim=1)
    whole = crossfade(pieces, 4, 8)[0, 0, 0]
    torch.testing.assert_close(whole, torch.tensor([1, 3, 5, 7, 7, 5, 3, 1]) / 8)
