"""Choose the arithmetic in which a machine is fast."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import nn

Precision = Literal["auto", "fp32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Return the autocast context for a precision. "auto" uses bf16 if the hardware computes in it.

    float16 is not supported: it would need loss scaling, while bf16 has the range of float32.
    """
    enabled = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def channels_last(network: nn.Module) -> nn.Module:
    """Convert weights to channels-last layout, so that convolutions of channels-last tensors need no reordering."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether bf16 convolutions are faster than float32 ones: AMX or AVX512-BF16, or a GPU from Ampere on."""
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
