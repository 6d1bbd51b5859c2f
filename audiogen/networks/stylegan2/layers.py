"""Define layers with an equalised learning rate (Karras et al., 2018, section 4.1).

The leaky ReLU's gain of sqrt(2) is folded into the weights and the bias before it. The function is homogeneous, so the
result is the same and one pass over the activations is saved.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.networks.stylegan2.resample import blur, downsample

Activation = Literal["linear", "lrelu"]
SLOPE = 0.2
GAIN: dict[Activation, float] = {"linear": 1.0, "lrelu": math.sqrt(2)}


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply the activation in place, without its gain."""
    return F.leaky_relu(x, SLOPE, inplace=True) if activation == "lrelu" else x


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row of x, float [B, D], to a mean square of 1.

    Example:
        >>> normalize_second_moment(torch.tensor([[3.0, 4.0]])).square().mean().round(decimals=4)
        tensor(1.)
    """
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """Dense layer, float [B, in] to [B, out].

    Args:
        in_features: Input size.
        out_features: Output size.
        activation: "linear" or "lrelu".
        lr_multiplier: Learning rate relative to the rest of the network.
        bias_init: Initial bias.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], bias_init))
        self.weight_gain = lr_multiplier / math.sqrt(in_features) * GAIN[activation]
        self.bias_gain = lr_multiplier * GAIN[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Transform float [B, in] into [B, out]."""
        return activate(F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain), self.activation)


class Conv2d(nn.Module):
    """Convolution that keeps the resolution or, after FIR filtering, halves it.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel_size: 1 or 3.
        activation: "linear" or "lrelu".
        bias: Whether to add a bias.
        down: Whether to halve height and width.
        gain: Factor on the result.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        activation: Activation = "linear",
        bias: bool = True,
        down: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.down = down
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.bias_gain = GAIN[activation] * gain
        self.weight_gain = self.bias_gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        """Transform float [B, in, H, W] into [B, out, H, W] or, with `down`, [B, out, H / 2, W / 2]."""
        weight = self.weight * self.weight_gain
        bias = None if self.bias is None else self.bias * self.bias_gain
        if self.padding == 0:
            x = downsample(x) if self.down else x
            x = _pointwise(x, weight[:, :, 0, 0], bias)
        elif self.down:
            x = F.conv2d(blur(x, padding=2), weight, bias, stride=2)
        else:
            x = F.conv2d(x, weight, bias, padding=self.padding)
        return activate(x, self.activation)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a 1 x 1 convolution as a matrix product on channels-last memory.

    A convolution with one input channel took ten times as long on a CPU, and returned another memory layout.
    """
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor, up: bool = False, gain: float = 1.0) -> Tensor:
    """Convolve with weights scaled per sample and input channel, and normalised per output channel.

    Karras et al. (2020), equations 1 and 3, in the form that scales activations, so that one ordinary convolution
    handles the whole batch.

    Args:
        x: float [B, in, H, W].
        weight: float32 [out, in, k, k].
        styles: float32 [B, in].
        up: Whether to double height and width (transposed convolution, then FIR filter).
        gain: Factor on the result.

    Returns:
        float [B, out, H, W], or [B, out, 2 H, 2 W] with `up`, in the dtype of the convolution.
    """
    with torch.autocast(x.device.type, enabled=False):
        norm = (styles.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt() * gain  # [B, out]
    x = x * styles.to(x.dtype)[:, :, None, None]
    if up:
        x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1, gain=4.0)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return x * norm.to(x.dtype)[:, :, None, None]
