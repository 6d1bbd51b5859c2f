"""Augment real and generated spectrograms differentiably.

Source: Zhao et al. (2020). Deviation: only changes after which a spectrogram is still a sound. There are no flips or
rotations, and uncovered or masked parts become silence (-1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen import rng

SILENCE = -1.0


class SpectrogramAugment(nn.Module):
    """Shift in time, change the gain, and mask one range of bands and one of frames, randomly for each clip.

    Args:
        max_shift: Largest shift in frames, earlier or later; 0 disables shifts.
        gain: Standard deviation of the level change, in spectrogram units (the range is 2); 0 disables it.
        mask_probability: Probability of each mask, in [0, 1].
        max_mask: Largest width of a mask in bands and in frames, at least 1.

    Raises:
        ValueError: If `max_shift` or `gain` is negative, `max_mask` is below 1, or `mask_probability` outside [0, 1].
    """

    def __init__(self, max_shift: int = 8, gain: float = 0.1, mask_probability: float = 0.5, max_mask: int = 8) -> None:
        super().__init__()
        if max_shift < 0 or gain < 0 or max_mask < 1 or not 0 <= mask_probability <= 1:
            raise ValueError(
                "need max_shift >= 0, gain >= 0, max_mask >= 1 and mask_probability in [0, 1], got "
                f"{max_shift}, {gain}, {max_mask} and {mask_probability}"
            )
        self.max_shift, self.gain = max_shift, gain
        self.mask_probability, self.max_mask = mask_probability, max_mask

    def forward(self, spec: Tensor) -> Tensor:
        """Augment spec, float [B, C, F, L] in [-1, 1], differentiably; the gain may exceed the range."""
        if self.max_shift:
            spec = shift_time(spec, rng.randint(-self.max_shift, self.max_shift + 1, spec.shape[:1]))
        if self.gain:
            audible = (spec + 1).clamp(0, 1)  # silence stays silent at any gain
            spec = spec + audible * self.gain * rng.randn((len(spec), 1, 1, 1), spec.device)
        if self.mask_probability:
            spec = self._mask(self._mask(spec, 2), 3)
        return spec

    def _mask(self, spec: Tensor, axis: int) -> Tensor:
        """Silence up to max_mask adjacent positions along an axis, in a random subset of the clips."""
        size = spec.shape[axis]
        width = rng.randint(1, self.max_mask + 1, (len(spec), 1), spec.device)
        width = width * (rng.rand((len(spec), 1), spec.device) < self.mask_probability)
        first = (rng.rand((len(spec), 1), spec.device) * (size - width + 1)).long()
        index = torch.arange(size, device=spec.device)
        hidden = (index >= first) & (index < first + width)  # [B, size]
        return spec.masked_fill(hidden.view(len(spec), 1, *(size if a == axis else 1 for a in (2, 3))), SILENCE)


def shift_time(spec: Tensor, frames: Tensor) -> Tensor:
    """Shift clips in time, filling with silence.

    Args:
        spec: float [B, C, F, L].
        frames: Shift of each clip in frames, int64 [B]; positive is later.

    Returns:
        float [B, C, F, L].

    Example:
        >>> shift_time(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([1]))
        tensor([[[[-1.,  1.,  2.]]]])
    """
    length = spec.shape[3]
    reach = int(frames.abs().max())
    padded = F.pad(spec, (reach, reach), value=SILENCE)
    index = torch.arange(length, device=spec.device) + reach - frames.to(spec.device)[:, None]  # [B, L]
    return padded.gather(3, index[:, None, None].expand(*spec.shape[:3], -1))
