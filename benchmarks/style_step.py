"""Measure the speed of style transfer: `python -m benchmarks.style_step`.

Each config is run on a pair of 5 s at its own settings, with a full L-BFGS history. Candidates: an evaluation in the
precision that the package chooses, in float32, with oneDNN's convolutions instead of matrix products of windows, and a
bare product of 4096 x 4096 matrices, which estimates the limit of the machine. FLOP count the products that are
computed: convolutions (forward, and backward to the input) and Gram matrices in the cheaper form
(`audiogen.losses.style.StyleTarget`).
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from audiogen.commands.style_config import build_style_transfer
from audiogen.models.precision import Precision, has_fast_bf16
from audiogen.models.transfer import Transfer
from audiogen.networks.style_cnn import WideConv2d
from benchmarks.sounds import MUSIC_RATE, drops, music
from benchmarks.style_bench import config_files
from benchmarks.stylegan2_step import count_flop
from benchmarks.timing import fastest

CONFIGS = ("style_transfer", "lin", "jain_raj", "jain_raj stft", "huzaifah_wyse texture", "huzaifah_wyse")
SECONDS = 5.0
SIZE = 4096  # rows and columns of the bare matrices


def begin(config: str, content: Tensor, style: Tensor, precision: Precision, windows: bool = True) -> Transfer:
    """Return a started optimisation whose L-BFGS history is full.

    Args:
        config: Name of the config.
        content: wav, float32 [1, T] at the config's sample rate.
        style: wav, float32 [1, T].
        precision: Precision of the convolutions.
        windows: Whether convolutions are computed as matrix products of windows.
    """
    model = build_style_transfer(config_files(config), {"precision": precision}).model
    if not windows:
        for module in model.extractor.modules():
            if isinstance(module, WideConv2d):
                module.windows = False
    wanted, target = model.transform(content[None]), model.transform(style[None])[0]
    texture = model.start == "noise" and not model.keeps_content
    transfer = model.begin(None if texture else wanted, [[target]], num_frames=wanted.shape[3])
    for _ in range(4):
        transfer.step()
    for optimizer in transfer.optimizers:
        state: dict[str, Any] = optimizer.state_dict()
        if state.get("steps"):
            longer = {name: model.history * list(state[name]) for name in ("steps", "changes", "products")}
            optimizer.load_state_dict({name: values[: model.history] for name, values in longer.items()})
    return transfer


def measure(config: str, rounds: int) -> dict[str, float]:
    """Time evaluations; print the table and return its metrics."""
    content, style = music(SECONDS)[0], drops(SECONDS)
    fast = has_fast_bf16(torch.device("cpu"))
    dtype = torch.bfloat16 if fast else torch.float32
    matrix = torch.randn(SIZE, SIZE, dtype=dtype)
    transfers = {
        "auto": begin(config, content, style, "auto"),
        "oneDNN": begin(config, content, style, "auto", windows=False),
        "float32": begin(config, content, style, "fp32"),
    }
    flop = count_flop(lambda: transfers["auto"].step())
    candidates: dict[str, Callable[[], object]] = {name: transfer.step for name, transfer in transfers.items()}
    seconds = fastest(candidates | {"product": lambda: matrix @ matrix}, rounds)
    rate = 2 * SIZE**3 / seconds["product"]
    print(f"\n{config}: {flop / 1e9:.1f} GFLOP an evaluation; a product alone: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'':<12}{'iterations/s':>14}{'fraction of product rate':>27}")
    for name in transfers:
        print(f"{name:<12}{1 / seconds[name]:>14.2f}{flop / seconds[name] / rate:>27.2f}")
    return {
        "iterations_per_s": 1 / seconds["auto"],
        "fraction_of_gemm_rate": flop / seconds["auto"] / rate,
        "speedup_to_onednn": seconds["oneDNN"] / seconds["auto"],
        "speedup_to_float32": seconds["float32"] / seconds["auto"],
        "gflop": flop / 1e9,
        "gemm_gflop_per_s": rate / 1e9,
    }


def main() -> None:
    """Measure all configs and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.style_step", description=__doc__.split("\n")[0])
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"style transfer of {SECONDS:g} s at {MUSIC_RATE} Hz, {torch.get_num_threads()} threads")
    scores = {config: measure(config, options.rounds) for config in options.configs}
    print(json.dumps({name: {key: round(value, 3) for key, value in row.items()} for name, row in scores.items()}))


if __name__ == "__main__":
    main()
