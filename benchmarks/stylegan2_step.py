"""Measure the speed of the StyleGAN2 training step: `python -m benchmarks.stylegan2_step`.

64 x 64, ten classes, channel_base 4096, channel_max 128, batch 16. Candidates: the step of
`tests.networks.plain_stylegan2` in float32, the package's step in float32 and in the precision that it chooses, and
bare convolutions, which estimate the limit of the machine. Also printed: the error of both penalties' gradients
relative to float64.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from audiogen.data.batch import Batch
from audiogen.losses.regularizers import path_lengths, r1_penalty
from audiogen.models.precision import Precision, has_fast_bf16
from audiogen.models.stylegan2 import StyleGAN2
from audiogen.networks.stylegan2 import Discriminator, Generator
from audiogen.transforms.mel import LogMel
from benchmarks.timing import fastest
from tests.networks import plain_stylegan2

BATCH = 16
CHANNELS: dict[str, Any] = {"channel_base": 4096, "channel_max": 128}
PLAIN_FLOP = 12.9e9  # per image, counted by hand: PyTorch's counter treats grouped convolutions as full ones
R1_INTERVAL, PATH_LENGTH_INTERVAL = 16, 4


def make_model(precision: Precision) -> StyleGAN2:
    """Return a model that is ready for `training_step` without a Trainer, lazy penalties and logging."""
    torch.manual_seed(0)
    model = StyleGAN2(
        LogMel(sample_rate=8000, n_fft=512, hop_length=128, n_mels=64, num_frames=64),
        [str(digit) for digit in range(10)],
        BATCH,
        partial(Generator, z_dim=64, w_dim=256, **CHANNELS),
        partial(Discriminator, num_mapping_layers=2, **CHANNELS),
        total_kimg=1e9,
        precision=precision,
        style_mixing=0.0,
        r1_interval=0,
        path_length_interval=0,
        log_every_kimg=1e9,
    )
    optimizers = model.configure_optimizers()
    fabric = Fabric(accelerator="cpu", devices=1)
    model._fabric = fabric
    model._fabric_optimizers = list(fabric.setup_optimizers(*optimizers))
    return model.train()


def conv_rate(dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """Return a function that runs 3 x 3 convolutions of the two highest levels forward and backward, and its FLOP."""
    runs, flop = [], 0.0
    for channels, side in ((64, 64), (128, 32)):
        x = torch.randn(BATCH, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        backward = partial(torch.ops.aten.convolution_backward, torch.randn_like(x), x, w, None)
        masks = ([True, False, False], [False, True, False])
        runs.append(partial(F.conv2d, x, w, padding=1))
        runs += [partial(backward, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask) for mask in masks]
        flop += 3 * 2 * 9 * channels**2 * x.shape[0] * side**2
    return lambda: [run() for run in runs], flop


def count_flop(run: Callable[[], object]) -> float:
    """Count the FLOP of convolutions and matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def penalty_errors() -> dict[str, float]:
    """Return the relative error of both penalties' gradients in float32 and bf16, against float64."""
    torch.manual_seed(0)
    generator = Generator((1, 64, 64), 10, z_dim=64, w_dim=256, **CHANNELS).eval()
    discriminator = Discriminator((1, 64, 64), 10, num_mapping_layers=2, **CHANNELS)
    real, noise, z = torch.randn(8, 1, 64, 64), torch.randn(8, 1, 64, 64), torch.randn(8, 64)
    label = torch.eye(10)[torch.arange(8)]

    def gradient(name: str, dtype: torch.dtype) -> Tensor:
        network = discriminator if name == "r1" else generator
        network.to(torch.float64 if dtype == torch.float64 else torch.float32)
        to = partial(torch.Tensor.to, dtype=next(network.parameters()).dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            if name == "r1":
                clips = to(real).requires_grad_()
                penalty = r1_penalty(discriminator(clips, to(label)), clips)
            else:
                ws = generator.mapping(to(z), to(label))
                lengths = path_lengths(generator.synthesis(ws, noise_mode="const"), ws, to(noise))
                penalty = (lengths - 1).square().mean()
        weights = [p for n, p in network.named_parameters() if n.endswith("weight")]
        found = torch.autograd.grad(penalty, weights, allow_unused=True)
        return torch.cat([g.flatten().double() for g in found if g is not None])

    errors = {}
    for name in ("r1", "path_length"):
        exact = gradient(name, torch.float64)
        for dtype in (torch.float32, torch.bfloat16):
            errors[f"{name}_{dtype}".replace("torch.", "")] = float(
                (gradient(name, dtype) - exact).norm() / exact.norm()
            )
    return errors


def measure(dtype: torch.dtype) -> tuple[dict[str, float], float, float]:
    """Return each candidate's fastest time in seconds, the FLOP of one image's step, and FLOP/s of convolutions."""
    batch = Batch(torch.randn(BATCH, 1, 64, 64), torch.arange(BATCH) % 10)
    model, exact, twin = make_model("auto"), make_model("fp32"), make_model("fp32")
    label = model.one_hot(batch.label)
    assert label is not None
    optimizers = (torch.optim.Adam(twin.generator.parameters()), torch.optim.Adam(twin.discriminator.parameters()))
    convolutions, conv_flop = conv_rate(dtype)

    def with_update(run: Callable[[], None], network: int) -> Callable[[], None]:
        def penalty() -> None:
            run()
            model.optimizers()[network].step()  # type: ignore[index]
            model.zero_grad()

        return penalty

    candidates: dict[str, Callable[[], object]] = {
        "plain float32": lambda: plain_stylegan2.training_step(
            twin.generator, twin.discriminator, optimizers, batch.spec, label
        ),
        "audiogen float32": lambda: exact.training_step(batch, 0),
        "audiogen auto": lambda: model.training_step(batch, 0),
        "r1": with_update(lambda: model.r1_backward(batch.spec, label), 1),
        "path length": with_update(lambda: model.path_length_backward(BATCH // 2, label), 0),
        "convolutions": convolutions,
    }
    seconds = fastest(candidates)
    flop = count_flop(candidates["audiogen auto"]) / BATCH
    return seconds, flop, conv_flop / seconds["convolutions"]


def main() -> None:
    """Measure and print the tables."""
    torch.set_flush_denormal(True)
    dtype = torch.bfloat16 if has_fast_bf16(torch.device("cpu")) else torch.float32
    seconds, flop, rate = measure(dtype)
    print(f"StyleGAN2 step, 64 x 64, batch {BATCH}, {torch.get_num_threads()} threads, auto = {dtype}")
    print(f"convolutions alone: {rate / 1e9:.0f} GFLOP/s\n")
    print(f"{'step':<42}{'images/s':>9}{'GFLOP/image':>13}{'fraction of conv rate':>23}")
    for name, work in (("plain float32", PLAIN_FLOP), ("audiogen float32", flop), ("audiogen auto", flop)):
        images_per_s = BATCH / seconds[name]
        print(f"{name:<42}{images_per_s:>9.1f}{work / 1e9:>13.2f}{work * images_per_s / rate:>23.2f}")
    lazy = seconds["r1"] / R1_INTERVAL + seconds["path length"] / PATH_LENGTH_INTERVAL
    regularised = BATCH / (seconds["audiogen auto"] + lazy)
    print(f"{'audiogen auto, R1 and path length (fp32)':<42}{regularised:>9.1f}\n")
    for name, error in penalty_errors().items():
        print(f"gradient of {name:<26} relative error against float64 {error:.1e}")
    scores = {
        "images_per_s": BATCH / seconds["audiogen auto"],
        "images_per_s_regularised": regularised,
        "fraction_of_conv_rate": flop * BATCH / seconds["audiogen auto"] / rate,
        "images_per_s_plain_float32": BATCH / seconds["plain float32"],
        "images_per_s_float32": BATCH / seconds["audiogen float32"],
        "gflop_per_image": flop / 1e9,
        "conv_gflop_per_s": rate / 1e9,
    }
    print(json.dumps({name: round(value, 3) for name, value in scores.items()}))


if __name__ == "__main__":
    main()
