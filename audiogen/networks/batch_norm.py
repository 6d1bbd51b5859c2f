"""Normalise batches over the clips of all processes."""

import torch
from torch import Tensor, nn

from audiogen.distributed import all_reduce_sum, num_processes


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with mean and variance over the clips of all processes, on CPUs and GPUs.

    With one process it equals the original. `torch.nn.SyncBatchNorm` does the same, but only on GPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float [B, D, H, W]."""
        if not self.training or num_processes() == 1:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        # Centre on the running mean, which is equal in all processes, so that the squares lose no precision.
        shifted = x.to(self.running_mean.dtype) - self.running_mean[:, None, None]
        count = shifted.new_full((1,), x.numel() / x.shape[1])
        sums = all_reduce_sum(torch.cat([shifted.sum(dim=(0, 2, 3)), shifted.square().sum(dim=(0, 2, 3)), count]))
        mean, square = (sums[:-1] / sums[-1]).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean += self.momentum * mean
            self.running_var.lerp_(variance * sums[-1] / (sums[-1] - 1), self.momentum)
        scale = (variance + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        normalised = (shifted - mean[:, None, None]) * scale[:, None, None]
        return (normalised if self.bias is None else normalised + self.bias[:, None, None]).to(x.dtype)
