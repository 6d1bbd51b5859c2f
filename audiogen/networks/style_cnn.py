"""Define the wide, shallow networks that supply features for style transfer.

Sources: one layer of random weights, by Ulyanov & Lebedev (2016), Jain & Raj (2019) and Lin (2021); three stacks of
convolution, batch normalisation, ReLU and pooling, with random weights or trained to classify ESC-50, by Huzaifah &
Wyse (2020), section 5.1 and figure 2.

Deviation: the classifier's head is a linear layer on the mean over time, so that clips of any length can be classified.
Huzaifah & Wyse (2020) do not describe theirs; a dense layer over all frames would fix the clip length.
"""

from collections.abc import Collection
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.networks.batch_norm import BatchNorm2d

Shape = tuple[int, int, int]
Orientation = Literal["frequency", "time", "2d"]
Activation = Literal["relu", "tanh"]
Pool = Literal["none", "max", "average"]
INPUT = "input"  # layer name of the spectrogram itself


class StyleCNN(nn.Module):
    """Apply stacks of convolution, batch normalisation, activation and pooling, initially with random weights.

    The layers of stack k are named conv_k, norm_k, relu_k (or tanh_k) and pool_k; "input" is the spectrogram.

    Args:
        shape: (C, F, L) of the spectrogram. Other L work too, unless the orientation is "time".
        num_classes: Number of classes of the classification head; 0 for no head.
        orientation: Axis used as channels: "frequency" (convolve along time), "time" (convolve along frequency, for
            spectrograms of exactly L frames), or "2d" for neither.
        width: Channels of each convolution.
        kernel: Kernel size in frames ("frequency"), bands ("time") or both ("2d").
        num_stacks: Number of stacks; 1 is the shallow network of Jain & Raj (2019) and Lin (2021).
        activation: "relu" or "tanh".
        pool: Pooling after each stack that halves the convolved axes: "max", "average" or "none".
        batch_norm: Whether to normalise before the activation; has almost no effect without training.
        same_padding: Whether to pad with zeros, so that convolutions keep the length; requires an odd kernel.
        input_scale: Value to which a spectrogram of 1 is scaled, > 0; -1 is scaled to 0.
        init: "torch" draws weights and biases from PyTorch's default distribution, which weakens the signal from stack
            to stack. A number is the standard deviation of normal weights, without biases.
        seed: Seed of the random weights.

    Attributes:
        num_features: D of the embedding.
        fixed_length: Whether all spectrograms must have exactly L frames.

    Raises:
        ValueError: If `orientation`, `activation`, `pool` or `init` is unknown; if `width`, `kernel` or `num_stacks` is
            below 1; if `input_scale` is not positive; or if `same_padding` is combined with an even kernel.
    """

    def __init__(
        self,
        shape: Shape,
        num_classes: int = 0,
        orientation: Orientation = "frequency",
        width: int = 4096,
        kernel: int = 11,
        num_stacks: int = 3,
        activation: Activation = "relu",
        pool: Pool = "max",
        batch_norm: bool = True,
        same_padding: bool = True,
        input_scale: float = 1.0,
        init: Literal["torch"] | float = "torch",
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_choice("orientation", orientation, get_args(Orientation))
        _check_choice("activation", activation, get_args(Activation))
        _check_choice("pool", pool, get_args(Pool))
        if isinstance(init, str):
            _check_choice("init", init, ("torch",))
        if min(width, kernel, num_stacks) < 1 or input_scale <= 0:
            raise ValueError(
                "need width, kernel and num_stacks of at least 1 and input_scale > 0, got "
                f"{width}, {kernel}, {num_stacks} and {input_scale}"
            )
        if same_padding and kernel % 2 == 0:
            raise ValueError(f"a kernel that keeps the length is odd, got {kernel}: take {kernel + 1}")
        self.shape, self.orientation, self.kernel, self.pool = shape, orientation, kernel, pool
        self.activation, self.input_scale, self.num_features = activation, input_scale, width
        self.fixed_length = orientation == "time"
        channels, bands, frames = shape
        num_in = {"frequency": channels * bands, "time": channels * frames, "2d": channels}[orientation]
        size = (kernel, kernel) if orientation == "2d" else (1, kernel)
        padding = (size[0] // 2, size[1] // 2) if same_padding else (0, 0)
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        generator = torch.Generator().manual_seed(seed)
        for _ in range(num_stacks):
            # Allocate without initialising: three layers of 4096 channels have 400 million weights to draw.
            conv = WideConv2d(num_in, width, size, padding=padding, bias=init == "torch", device="meta")
            self.convs.append(_draw(conv.to_empty(device="cpu"), init, generator))
            self.norms.append(BatchNorm2d(width) if batch_norm else nn.Identity())
            num_in = width
        head = nn.Linear(width, num_classes) if num_classes else None
        self.head = head and _draw(head, "torch", generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def layers(self) -> list[str]:
        """Names of all layers, starting with the spectrogram."""
        return [INPUT, *(f"{kind}_{stack}" for stack in range(1, len(self.convs) + 1) for kind in self._kinds)]

    @property
    def _kinds(self) -> list[str]:
        norm = [] if isinstance(self.norms[0], nn.Identity) else ["norm"]
        return ["conv", *norm, self.activation, *([] if self.pool == "none" else ["pool"])]

    def min_length(self, layer: str) -> int:
        """Return how many frames ("time": bands; "2d": both) one output of a layer depends on.

        Raises:
            ValueError: If `layer` is unknown.
        """
        _check_choice("layer", layer, self.layers)
        length, step = 1, 1
        for name in self.layers[1 : self.layers.index(layer) + 1]:
            kind = name.split("_")[0]
            length += step * {"conv": self.kernel - 1, "pool": 1}.get(kind, 0)
            step *= 2 if kind == "pool" else 1
        return length

    def features(self, spec: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Compute the outputs of some layers, up to the last one requested.

        Args:
            spec: float32 [B, C, F, L] in [-1, 1] or slightly beyond.
            layers: Layer names, see `layers`.

        Returns:
            Output by layer name, float32 [B, N, P]: N features at P positions.

        Raises:
            ValueError: If a layer is unknown, or `spec` has another shape or is too short for a layer.
        """
        for layer in layers:
            self._check_size(spec, layer)
        return {name: x.float() for name, x in self._compute(spec, layers).items()}

    def _compute(self, spec: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return the layers' outputs in the precision of the weights."""
        x = (spec + 1) * (self.input_scale / 2)
        if self.orientation == "frequency":
            x = x.flatten(1, 2)[:, :, None]  # [B, C F, 1, L]
        elif self.orientation == "time":
            x = x.movedim(3, 2).flatten(1, 2)[:, :, None]  # [B, C L, 1, F]
        found = {INPUT: x.flatten(2)} if INPUT in layers else {}
        x = x.to(next(self.convs.parameters()).dtype)
        for name in self.layers[1:]:
            if len(found) == len(set(layers)):
                break
            kind, stack = name.split("_")
            x = self._step(kind, int(stack) - 1, x)
            if name in layers:
                found[name] = x.flatten(2)
        return found

    def embed(self, spec: Tensor) -> Tensor:
        """Return the last layer's mean over all positions, float [B, D], for spec [B, C, F, L], short ones too."""
        last = self.layers[-1]
        return self._compute(spec, [last])[last].mean(dim=2)

    def logits(self, features: Tensor) -> Tensor:
        """Return logits, float [B, num_classes], for embeddings, float [B, D]."""
        assert self.head is not None
        return self.head(features)

    def forward(self, spec: Tensor) -> Tensor:
        """Return logits, float [B, num_classes], for spec, float [B, C, F, L] in [-1, 1]."""
        return self.logits(self.embed(spec))

    def _step(self, kind: str, stack: int, x: Tensor) -> Tensor:
        if kind == "conv":
            return self.convs[stack](x)
        if kind == "norm":
            return self.norms[stack](x)
        if kind == "pool":
            pool = F.max_pool2d if self.pool == "max" else F.avg_pool2d
            return pool(x, 2 if self.orientation == "2d" else (1, 2))
        return torch.relu(x) if kind == "relu" else torch.tanh(x)

    def _check_size(self, spec: Tensor, layer: str) -> None:
        least = self.min_length(layer)
        bands = {"frequency": self.shape[:2], "time": self.shape[:1], "2d": self.shape[:1]}[self.orientation]
        if spec.ndim != 4 or tuple(spec.shape[1 : 1 + len(bands)]) != bands:
            raise ValueError(f"expected spec [B, {', '.join(map(str, bands))}, ...], got {list(spec.shape)}")
        if self.orientation == "time" and spec.shape[3] != self.shape[2]:
            raise ValueError(
                f"time is in the channels of this network: expected {self.shape[2]} frames, got {spec.shape[3]}"
            )
        sides = {"frequency": spec.shape[3:], "time": spec.shape[2:3], "2d": spec.shape[2:]}[self.orientation]
        if min(sides) < least:
            unit = {"frequency": "frames", "time": "bands", "2d": "frames and bands"}[self.orientation]
            raise ValueError(
                f"{layer} needs at least {least} {unit}, got {min(sides)}: use a longer sound or a smaller kernel"
            )


class WideConv2d(nn.Conv2d):
    """A convolution over many channels. With fixed weights and a single row, it runs as a matrix product on CPUs.

    Each row of the matrix is a window of k frames. In bf16, oneDNN's convolution takes 1.5 times as long
    (`python -m benchmarks.style_step`). Weights are stored channels-last.

    Attributes:
        windows: Whether to use the matrix product.
    """

    windows = True

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x, float [B, N, H, W], in the precision of the weights."""
        if not self.windows or self.kernel_size[0] > 1 or self.weight.requires_grad or x.device.type != "cpu":
            return super().forward(x)
        return _WindowProduct.apply(x, self.weight, self.bias, self.padding[1])  # type: ignore[no-any-return]


class _WindowProduct(torch.autograd.Function):
    """Convolve a single row by a matrix product over windows, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(weight)
        ctx.length, ctx.padding = x.shape[3], padding
        rows = F.pad(x[:, :, 0].mT, (0, 0, padding, padding))  # [B, W + 2 padding, N]
        windows = rows.unfold(1, weight.shape[3], 1).movedim(3, 2).flatten(2)  # [B, W', k N]
        return F.linear(windows, _as_matrix(weight), bias).mT[:, :, None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        channels, kernel = weight.shape[1], weight.shape[3]
        batch, _, _, length = grad.shape
        windows = (grad[:, :, 0].mT.flatten(0, 1) @ _as_matrix(weight)).view(batch, length, kernel, channels)
        total = grad.new_zeros(batch, ctx.length + 2 * ctx.padding, channels, dtype=torch.float32)
        for tap in range(kernel):
            total[:, tap : tap + length] += windows[:, :, tap]
        return total[:, ctx.padding : ctx.padding + ctx.length].to(grad.dtype).mT[:, :, None], None, None, None


def _as_matrix(weight: Tensor) -> Tensor:
    """Return channels-last weights, float [M, N, 1, k], as a matrix, float [M, k N]."""
    return weight[:, :, 0].mT.flatten(1)


def _draw(layer: Any, init: str | float, generator: torch.Generator) -> Any:
    """Draw a layer's weights; see `StyleCNN`."""
    if init != "torch":
        nn.init.normal_(layer.weight, std=float(init), generator=generator)
        return layer
    fan_in = layer.weight[0].numel()
    for values in (layer.weight, layer.bias):
        nn.init.uniform_(values, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
    return layer


def _check_choice(name: str, value: str, legal: Collection[str]) -> None:
    if value not in legal:
        raise ValueError(f"{name} must be one of {', '.join(legal)}, got {value!r}")
