"""Resample feature maps with the FIR filter [1, 3, 3, 1] (Karras et al., 2020, section 4; Zhang, 2019).

The filter is symmetric, so the gradient of a filtering pass is another filtering pass. Stating that by hand avoids the
gradient computation of a convolution with a constant kernel.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = (1.0, 3.0, 3.0, 1.0)  # / 8 in each direction


def blur(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Filter each channel with the 4 x 4 kernel.

    Args:
        x: float [B, C, H, W].
        padding: Zeros added on each side, 0 to 3.
        gain: Factor on the result.

    Returns:
        float [B, C, H + 2 padding - 3, W + 2 padding - 3].
    """
    return _Blur.apply(x, padding, gain)


def downsample(x: Tensor) -> Tensor:
    """Filter and halve both sides, float [B, C, H, W] to [B, C, H / 2, W / 2]."""
    return _Downsample.apply(x, 1.0)


def upsample(x: Tensor) -> Tensor:
    """Double both sides and filter, float [B, C, H, W] to [B, C, 2 H, 2 W]; keeps the mean."""
    return _Upsample.apply(x, 4.0)  # three of four samples are inserted zeros


class _Blur(torch.autograd.Function):
    """Depthwise filtering; its gradient is itself with the complementary padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, gain: float) -> Tensor:
        ctx.padding, ctx.gain = padding, gain
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x, _kernel(x, gain), padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Blur.apply(gradients[0], len(TAPS) - 1 - ctx.padding, ctx.gain), None, None


class _Downsample(torch.autograd.Function):
    """Depthwise filtering with stride 2; its gradient is `_Upsample`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x, _kernel(x, gain), stride=2, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Upsample.apply(gradients[0], ctx.gain), None


class _Upsample(torch.autograd.Function):
    """Transposed depthwise filtering with stride 2; its gradient is `_Downsample`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        # Insert zeros and convolve: a depthwise transposed convolution took 20 times as long in bf16 on a CPU. Two rows
        # and columns of zeros on each side are the padding.
        size = (*x.shape[:2], 2 * x.shape[2] + 3, 2 * x.shape[3] + 3)
        spread = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last).zero_()
        spread[:, :, 2:-1:2, 2:-1:2] = x
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(spread, _kernel(x, gain), groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Downsample.apply(gradients[0], ctx.gain), None


def _kernel(x: Tensor, gain: float) -> Tensor:
    """Return the kernel for each channel of x, float [C, 1, 4, 4], with sum `gain`."""
    taps = torch.tensor(TAPS, device=x.device)
    kernel = torch.outer(taps, taps) * (gain / taps.sum() ** 2)
    return kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
