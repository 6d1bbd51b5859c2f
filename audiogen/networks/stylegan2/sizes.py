"""Determine the resolutions of a network from its spectrogram."""

from typing import NamedTuple

MIN_SIDE = 4
MAX_START = 16  # longest side of the lowest resolution; beyond it, the first layers would see only a part


class Level(NamedTuple):
    """One resolution of a network."""

    height: int
    width: int
    channels: int

    @property
    def name(self) -> str:
        """Name of the block in the state dict; the reference's if square."""
        return f"b{self.height}" if self.height == self.width else f"b{self.height}x{self.width}"


def levels(shape: tuple[int, int, int], channel_base: int, channel_max: int) -> list[Level]:
    """Return the resolutions from the lowest to the spectrogram's.

    Args:
        shape: (C, F, L) of the spectrogram.
        channel_base: A resolution with longer side r has channel_base / r channels ...
        channel_max: ... but at most this many.

    Raises:
        ValueError: If halving both sides does not end at sides from 4 to 16, or a resolution would have no channels.

    Example:
        >>> [level.name for level in levels((1, 128, 64), channel_base=4096, channel_max=128)]
        ['b8x4', 'b16x8', 'b32x16', 'b64x32', 'b128x64']
    """
    _, height, width = shape
    sizes = [(height, width)]
    while min(height, width) >= 2 * MIN_SIDE and height % 2 == 0 and width % 2 == 0:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_START or len(sizes) < 2:
        raise ValueError(
            f"StyleGAN2 needs bands and frames of h * 2^k and w * 2^k, with h and w from {MIN_SIDE} to {MAX_START}, "
            f"such as 64 x 64, 80 x 64 or 128 x 64; got {shape[1]} bands x {shape[2]} frames"
        )
    if channel_base < max(shape[1:]) or channel_max < 1:
        raise ValueError(
            f"channel_base must be at least the longer side, {max(shape[1:])}, and channel_max 1: "
            f"got {channel_base} and {channel_max}"
        )
    return [Level(h, w, min(channel_base // max(h, w), channel_max)) for h, w in reversed(sizes)]
