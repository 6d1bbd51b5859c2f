"""Define the StyleGAN2 generator with skip outputs, for square and rectangular spectrograms.

Source: Karras et al. (2020), figure 7b.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from audiogen import rng
from audiogen.networks.stylegan2.layers import GAIN, FullyConnected, activate, modulated_conv2d
from audiogen.networks.stylegan2.mapping import Mapping
from audiogen.networks.stylegan2.resample import upsample
from audiogen.networks.stylegan2.sizes import Level, levels

NoiseMode = Literal["random", "const", "none"]


class Generator(nn.Module):
    """Generate spectrograms from latents and classes.

    Args:
        shape: (C, F, L) of the spectrogram; F and L must be h * 2^k and w * 2^k with h and w from 4 to 16.
        num_classes: Number of classes; 0 for an unconditional generator.
        z_dim: Latent size.
        w_dim: Style size.
        num_mapping_layers: Dense layers of the mapping network (8 in the paper, 2 for small data).
        channel_base: A resolution with longer side r has channel_base / r channels ...
        channel_max: ... but at most this many.
        num_low_precision: Number of highest resolutions that may run in bf16 under autocast; the lowest never does.

    Raises:
        ValueError: If F and L are not of this form, or a resolution would have no channels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        z_dim: int = 512,
        w_dim: int = 512,
        num_mapping_layers: int = 2,
        channel_base: int = 16384,
        channel_max: int = 512,
        num_low_precision: int = 4,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.synthesis = Synthesis(shape, w_dim, channel_base, channel_max, num_low_precision)
        self.mapping = Mapping(z_dim, num_classes, w_dim, self.synthesis.num_ws, num_mapping_layers)

    def forward(
        self, z: Tensor, label: Tensor | None, truncation: float = 1.0, noise_mode: NoiseMode = "random"
    ) -> Tensor:
        """Return spec, float32 [B, C, F, L]; see `Mapping.forward` and `Synthesis.forward`."""
        return self.synthesis(self.mapping(z, label, truncation), noise_mode)


class Synthesis(nn.Module):
    """Turn styles into a spectrogram, with one block per resolution."""

    def __init__(
        self, shape: tuple[int, int, int], w_dim: int, channel_base: int, channel_max: int, num_low_precision: int
    ) -> None:
        super().__init__()
        self.levels = levels(shape, channel_base, channel_max)
        below: Level | None = None
        self.num_ws = 1  # the last output layer
        for index, level in enumerate(self.levels):
            low_precision = below is not None and len(self.levels) - index <= num_low_precision
            block = SynthesisBlock(below, level, w_dim, shape[0], low_precision)
            setattr(self, level.name, block)
            self.num_ws += block.num_convs
            below = level

    def forward(self, ws: Tensor, noise_mode: NoiseMode = "random") -> Tensor:
        """Turn styles into spectrograms.

        Args:
            ws: Style of each layer, float32 [B, num_ws, w_dim].
            noise_mode: "random" draws new noise, "const" uses the noise stored with the weights, "none" adds none.

        Returns:
            spec, float32 [B, C, F, L], unbounded.
        """
        x: Tensor | None = None
        spec: Tensor | None = None
        first = 0
        for level in self.levels:
            block: SynthesisBlock = getattr(self, level.name)
            # Each block's output layer shares its style with the first layer of the next block.
            x, spec = block(x, spec, ws[:, first : first + block.num_convs + 1], noise_mode)
            first += block.num_convs
        assert spec is not None
        return spec


class SynthesisBlock(nn.Module):
    """Two convolutions at one resolution (the lowest has one, on a learned constant) and their output layer."""

    def __init__(self, below: Level | None, level: Level, w_dim: int, num_channels: int, low_precision: bool) -> None:
        super().__init__()
        self.low_precision = low_precision
        self.num_convs = 1 if below is None else 2
        if below is None:
            self.const = nn.Parameter(torch.randn(level.channels, level.height, level.width))
        else:
            self.conv0 = SynthesisLayer(below.channels, level, w_dim, up=True)
        self.conv1 = SynthesisLayer(level.channels, level, w_dim)
        self.torgb = ToSpec(level.channels, num_channels, w_dim)

    def forward(
        self, x: Tensor | None, spec: Tensor | None, ws: Tensor, noise_mode: NoiseMode
    ) -> tuple[Tensor, Tensor]:
        """Return the features, float [B, C', H, W], and the sum of all outputs so far, float32 [B, C, H, W]."""
        device = ws.device.type
        with torch.autocast(device, enabled=self.low_precision and torch.is_autocast_enabled(device)):
            if x is None:
                x = self.const.expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
            else:
                x = self.conv0(x if self.low_precision else x.to(ws.dtype), ws[:, 0], noise_mode)
            x = self.conv1(x, ws[:, -2], noise_mode)
            output = self.torgb(x, ws[:, -1]).to(ws.dtype)
        return x, output if spec is None else upsample(spec) + output


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias and leaky ReLU."""

    def __init__(self, in_channels: int, level: Level, w_dim: int, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(level.channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(level.channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(level.height, level.width))
        self.noise_const: Tensor

    def forward(self, x: Tensor, w: Tensor, noise_mode: NoiseMode) -> Tensor:
        """Transform float [B, in, H, W] with styles w, float32 [B, w_dim], into float [B, out, H', W']."""
        gain = GAIN["lrelu"]
        with torch.autocast(x.device.type, enabled=False):
            styles = self.affine(w)
        x = modulated_conv2d(x, self.weight, styles, self.up, gain)
        offset = (self.bias * gain).view(1, -1, 1, 1)
        if noise_mode != "none":
            size = (len(x), 1, *x.shape[2:])
            noise = rng.randn(size, x.device) if noise_mode == "random" else self.noise_const
            x = x + (noise * (self.noise_strength * gain)).to(x.dtype)
        return activate(x + offset.to(x.dtype), "lrelu")


class ToSpec(nn.Module):
    """Modulated 1 x 1 convolution to spectrogram channels, without demodulation ("toRGB")."""

    def __init__(self, in_channels: int, num_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(num_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Transform float [B, in, H, W] with styles w, float32 [B, w_dim], into float [B, C, H, W]."""
        with torch.autocast(x.device.type, enabled=False):
            styles = self.affine(w) * self.weight_gain
        weight = styles[:, :, None] * self.weight[:, :, 0, 0].T  # [B, in, C]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B, H W, in], a view if x is channels-last
        output = torch.baddbmm(self.bias.view(1, 1, -1).to(x.dtype), pixels, weight.to(x.dtype))  # [B, H W, C]
        return output.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
