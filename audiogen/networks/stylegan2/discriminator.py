"""Define the residual StyleGAN2 discriminator.

Sources: Karras et al. (2020), figure 7c; class projection by Miyato & Koyama (2018).
"""

import math

import torch
from torch import Tensor, nn

from audiogen.networks.stylegan2.layers import Conv2d, FullyConnected
from audiogen.networks.stylegan2.mapping import Mapping
from audiogen.networks.stylegan2.sizes import Level, levels

GROUP_SIZE = 4  # clips, for the minibatch standard deviation


class Discriminator(nn.Module):
    """Score spectrograms as real or fake, given their class.

    Args:
        shape: (C, F, L) of the spectrogram.
        num_classes: Number of classes; 0 for an unconditional discriminator.
        channel_base: See `Generator`.
        channel_max: See `Generator`.
        num_mapping_layers: Dense layers of the class mapping.
        group_size: Largest group of clips for the minibatch standard deviation.
        num_low_precision: Number of highest resolutions that may run in bf16 under autocast.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        channel_base: int = 16384,
        channel_max: int = 512,
        num_mapping_layers: int = 8,
        group_size: int = GROUP_SIZE,
        num_low_precision: int = 4,
    ) -> None:
        super().__init__()
        start, *rest = levels(shape, channel_base, channel_max)
        self.levels = list(reversed(rest))
        targets = [*self.levels[1:], start]
        for index, (level, below) in enumerate(zip(self.levels, targets, strict=True)):
            num_channels = shape[0] if index == 0 else 0
            setattr(self, level.name, DiscriminatorBlock(level, below, num_channels, index < num_low_precision))
        features = start.channels
        self.group_size = group_size
        setattr(self, start.name, Epilogue(start, features if num_classes else 1, group_size))
        self.start = start
        self.num_classes = num_classes
        if num_classes:
            self.mapping = Mapping(0, num_classes, features, None, num_mapping_layers)

    def forward(self, spec: Tensor, label: Tensor | None) -> Tensor:
        """Return one logit per clip.

        Args:
            spec: float32 [B, C, F, L].
            label: float32 [B, num_classes]; None if num_classes is 0.

        Returns:
            float32 [B]; positive means real.
        """
        x = spec.contiguous(memory_format=torch.channels_last)
        for level in self.levels:
            x = getattr(self, level.name)(x)
        with torch.autocast(spec.device.type, enabled=False):
            x = getattr(self, self.start.name)(x.to(spec.dtype))  # [B, D]
            if not self.num_classes:
                return x[:, 0]
            projection = self.mapping(None, label)  # [B, D]
            return (x * projection).sum(dim=1) / math.sqrt(x.shape[1])


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the resolution; the first one also maps the spectrogram to features."""

    def __init__(self, level: Level, below: Level, num_channels: int, low_precision: bool) -> None:
        super().__init__()
        self.low_precision = low_precision
        self.fromrgb = Conv2d(num_channels, level.channels, 1, "lrelu") if num_channels else None
        self.conv0 = Conv2d(level.channels, level.channels, 3, "lrelu")
        # Both branches are scaled so that their sum keeps the variance.
        self.conv1 = Conv2d(level.channels, below.channels, 3, "lrelu", down=True, gain=math.sqrt(0.5))
        self.skip = Conv2d(level.channels, below.channels, 1, bias=False, down=True, gain=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Transform float [B, C, H, W] into [B, C', H / 2, W / 2]."""
        device = x.device.type
        with torch.autocast(device, enabled=self.low_precision and torch.is_autocast_enabled(device)):
            x = x if self.low_precision else x.to(self.conv0.weight.dtype)
            if self.fromrgb is not None:
                x = self.fromrgb(x)
            return self.conv1(self.conv0(x)) + self.skip(x)


class Epilogue(nn.Module):
    """Blocks at the lowest resolution: minibatch standard deviation, a convolution and two dense layers."""

    def __init__(self, level: Level, out_features: int, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.conv = Conv2d(level.channels + 1, level.channels, 3, "lrelu")
        self.fc = FullyConnected(level.channels * level.height * level.width, level.channels, "lrelu")
        self.out = FullyConnected(level.channels, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Transform float32 [B, C, H, W] into [B, D]."""
        x = self.conv(append_minibatch_stddev(x, self.group_size))
        return self.out(self.fc(x.contiguous().flatten(1)))


def minibatch_stddev(x: Tensor, group_size: int) -> Tensor:
    """Return the mean standard deviation over groups of clips (Karras et al., 2018, section 3).

    Args:
        x: float [B, C, H, W]. A group consists of adjacent clips, so that it lies within one process.
        group_size: Largest group size G; the largest divisor of B up to this is used.

    Returns:
        float [B / G].
    """
    size = next(size for size in range(min(group_size, len(x)), 0, -1) if len(x) % size == 0)
    groups = x.unflatten(0, (-1, size))  # [B / G, G, C, H, W]
    return (groups.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))


def append_minibatch_stddev(x: Tensor, group_size: int) -> Tensor:
    """Append the `minibatch_stddev` of each clip's group to x, float [B, C, H, W], as a channel [B, C + 1, H, W]."""
    deviation = minibatch_stddev(x, group_size)
    channel = deviation.repeat_interleave(len(x) // len(deviation)).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel], dim=1)
