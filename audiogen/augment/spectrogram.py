"""Differentiable augmentation of spectrograms (after Zhao et al., 2020), for real and generated clips alike.

Only what leaves a sound a sound: no flips or rotations, and what is uncovered or masked becomes silence (-1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen import rng

SILENCE = -1.0


class SpectrogramAugment(nn.Module):
    """Shift in time, change the gain, and mask one band of frequencies and one stretch of time.

    Every clip is drawn for itself.

    Args:
        max_shift:  Analysisthat a clip is moved at most, earlier or later; 0 for none.
        gain: Standard deviation of the added level, in units of the spectrogram (range 2); 0 for none.
        mask_probability: Of each mask.
        max_mask: Widest mask in bands and in frames.

    Raises:
        ValueError: For values out of range.
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
        """Augment spec, float [B, C, F, L] in [-1, 1]; the result is differentiable with respect to it."""
        if self.max_shift:
            spec = shift_time(spec, rng.randint(-self.max_shift, self.max_shift + 1, spec.shape[:1]))
        if self.gain:
            audible = (spec + 1).clamp(0, 1)  # silence stays silence, whatever the gain
            spec = spec + audible * self.gain * rng.randn((len(spec), 1, 1, 1), spec.device)
        if self.mask_probability:
            spec = self._mask(self._mask(spec, 2), 3)
        return spec

    def _mask(self, spec: Tensor, axis: int) -> Tensor:
        """Silence up to max_mask neighbours along an axis, in some of the clips."""
        size = spec.shape[axis]
        width = rng.randint(1, self.max_mask + 1, (len(spec), 1), spec.device)
        width = width * (rng.rand((len(spec), 1), spec.device) < self.mask_probability)
        first = (rng.rand((len(spec), 1), spec.device) * (size - width + 1)).long()
        place = torch.arange(size, device=spec.device)
        hidden = (place >= first) & (place < first + width)  # [B, size]
        return spec.masked_fill(hidden.view(len(spec), 1, *(size if a == axis else 1 for a in (2, 3))), SILENCE)


def shift_time(spec: Tensor, frames: Tensor) -> Tensor:
    """Move clips in time; what is uncovered is silence.

    Args:
        spec: float [B, C, F, L].
        frames: int64 [B]; positive is later.

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
