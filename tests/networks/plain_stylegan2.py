"""StyleGAN2 as one would write it down from the papers, without a thought for speed.

The baseline for `benchmarks.stylegan2_step` and the reference for the tests: per-sample weights and grouped
convolutions, FIR filtering by padding and an ordinary convolution, activations in separate passes, a second generated
batch for the discriminator. It reads the parameters of `audiogen.networks.stylegan2` and shares no other code with it.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.networks.stylegan2 import Discriminator, Generator


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with the gain that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def fir(x: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0) -> Tensor:
    """Insert zeros, pad, filter with [1, 3, 3, 1] and keep every down-th sample, in both directions."""
    batch, channels, height, width = x.shape
    if up > 1:
        x = x.reshape(batch, channels, height, 1, width, 1)
        x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (*pad, *pad))
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = torch.outer(taps, taps) / 64 * gain
    x = F.conv2d(x, kernel[None, None].repeat(channels, 1, 1, 1), groups=channels)
    return x[:, :, ::down, ::down]


def dense(x: Tensor, layer: Any, lr_multiplier: float = 1.0) -> Tensor:
    """Equalised dense layer, without activation."""
    weight = layer.weight * (lr_multiplier / math.sqrt(layer.weight.shape[1]))
    return x @ weight.T + layer.bias * lr_multiplier


def mapping(network: Any, z: Tensor | None, label: Tensor | None) -> Tensor:
    """Return w, float [B, w_dim]."""

    def normalize(x: Tensor) -> Tensor:
        return x / (x**2).mean(dim=1, keepdim=True).add(1e-8).sqrt()

    parts = [] if z is None else [normalize(z)]
    if label is not None:
        parts.append(normalize(dense(label, network.embed)))
    x = torch.cat(parts, dim=1)
    for index in range(network.num_layers):
        x = leaky(dense(x, getattr(network, f"fc{index}"), lr_multiplier=0.01))
    return x


def modulated(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolve each sample with its own weights."""
    batch, in_channels, height, width = x.shape
    out_channels, _, size, _ = weight.shape
    weights = weight[None] * styles[:, None, :, None, None]  # [B, out, in, k, k]
    if demodulate:
        weights = weights / (weights**2).sum(dim=(2, 3, 4), keepdim=True).add(1e-8).sqrt()
    x = x.reshape(1, batch * in_channels, height, width)
    if up:
        weights = weights.transpose(1, 2).reshape(batch * in_channels, out_channels, size, size)
        x = F.conv_transpose2d(x, weights, stride=2, groups=batch)
        x = x.reshape(batch, out_channels, 2 * height + 1, 2 * width + 1)
        return fir(x, pad=(1, 1), gain=4)
    x = F.conv2d(x, weights.reshape(batch * out_channels, in_channels, size, size), padding=size // 2, groups=batch)
    return x.reshape(batch, out_channels, height, width)


def synthesis(generator: Generator, ws: Tensor, noise: bool = True) -> Tensor:
    """Return spec, float [B, C, F, L], with the stored noise or fresh noise of the same shape."""
    x = spec = None
    place = 0

    def convolve(layer: Any, x: Tensor, w: Tensor) -> Tensor:
        x = modulated(x, layer.weight, dense(w, layer.affine), up=layer.up)
        if noise:
            x = x + layer.noise_const * layer.noise_strength
        return leaky(x + layer.bias.reshape(1, -1, 1, 1))

    for level in generator.synthesis.levels:
        block = getattr(generator.synthesis, level.name)
        if x is None:
            x = block.const[None].repeat(len(ws), 1, 1, 1)
        else:
            x = convolve(block.conv0, x, ws[:, place])
            place += 1
        x = convolve(block.conv1, x, ws[:, place])
        place += 1
        styles = dense(ws[:, place], block.torgb.affine) / math.sqrt(x.shape[1])
        output = modulated(x, block.torgb.weight, styles, demodulate=False) + block.torgb.bias.reshape(1, -1, 1, 1)
        spec = output if spec is None else fir(spec, up=2, pad=(2, 1), gain=4) + output
    assert spec is not None
    return spec


def generate(generator: Generator, z: Tensor, label: Tensor | None) -> Tensor:
    """Return spec, float [B, C, F, L]."""
    w = mapping(generator.mapping, z, label)
    return synthesis(generator, w[:, None].repeat(1, generator.synthesis.num_ws, 1))


def discriminate(discriminator: Discriminator, spec: Tensor, label: Tensor | None) -> Tensor:
    """Return logits, float [B]."""

    def convolve(layer: Any, x: Tensor) -> Tensor:
        weight = layer.weight / math.sqrt(layer.weight[0].numel())
        x = F.conv2d(x, weight, padding=0 if layer.down else weight.shape[-1] // 2, stride=2 if layer.down else 1)
        return x if layer.bias is None else x + layer.bias.reshape(1, -1, 1, 1)

    x = spec
    for level in discriminator.levels:
        block = getattr(discriminator, level.name)
        if block.fromrgb is not None:
            x = leaky(convolve(block.fromrgb, x))
        weight = block.skip.weight / math.sqrt(block.skip.weight[0].numel())
        skip = F.conv2d(fir(x, down=2, pad=(1, 1)), weight)
        x = leaky(convolve(block.conv0, x))
        x = leaky(convolve(block.conv1, fir(x, pad=(2, 2))))
        x = (x + skip) * math.sqrt(0.5)
    last = getattr(discriminator, discriminator.start.name)
    group = min(last.group_size, len(x))
    parts = x.reshape(-1, group, *x.shape[1:])
    deviation = ((parts - parts.mean(dim=1, keepdim=True)) ** 2).mean(dim=1).add(1e-8).sqrt().mean(dim=(1, 2, 3))
    deviation = deviation.repeat_interleave(group)[:, None, None, None].repeat(1, 1, *x.shape[2:])
    x = leaky(convolve(last.conv, torch.cat([x, deviation], dim=1)))
    x = dense(leaky(dense(x.flatten(1), last.fc)), last.out)
    if not discriminator.num_classes:
        return x[:, 0]
    return (x * mapping(discriminator.mapping, None, label)).sum(dim=1) / math.sqrt(x.shape[1])


def training_step(
    generator: Generator,
    discriminator: Discriminator,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    real: Tensor,
    label: Tensor,
) -> None:
    """Update both networks by the logistic loss, each with a generated batch of its own."""
    generator_optimizer, discriminator_optimizer = optimizers

    def fake() -> Tensor:
        return generate(generator, torch.randn(len(real), generator.z_dim), label)

    generator_optimizer.zero_grad()
    discriminator.requires_grad_(False)
    F.softplus(-discriminate(discriminator, fake(), label)).mean().backward()
    generator_optimizer.step()
    discriminator.requires_grad_(True)
    discriminator_optimizer.zero_grad()
    with torch.no_grad():
        clips = fake()
    F.softplus(discriminate(discriminator, clips, label)).mean().backward()
    F.softplus(-discriminate(discriminator, real, label)).mean().backward()
    discriminator_optimizer.step()
