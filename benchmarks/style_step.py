"""Speed of style transfer, `python -m benchmarks.style_step`.

A pair of 5 s by each config as it is, with a full history of L-BFGS. Side by side: an evaluation in the precision that
the package chooses by itself, in float32, with oneDNN's convolutions in place of matrix products of windows, and a bare
product of 4096 x 4096 matrices, whose rate is what the machine can do. FLOP are those of the products that are
computed: convolutions forward and to the input, and Gram matrices in the cheaper way
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
SIZE = 4096  # of the bare matrices


def begin(config: str, content: Tensor, style: Tensor, precision: Precision, windows: bool = True) -> Transfer:
    """Return an optimisation under way, whose history is as long as it gets.

    Args:
        config: Its name.
        content: wav, float32 [1, T] at the config's rate.
        style: wav, float32 [1, T].
        precision: Of the convolutions.
        windows: Whether they are matrix products of windows.
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
    """Print a table of evaluations and return its metrics."""
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
    print(f"{'':<12}{'iterations/s':>14}{'share of product rate':>24}")
    for name in transfers:
        print(f"{name:<12}{1 / seconds[name]:>14.2f}{flop / seconds[name] / rate:>24.2f}")
    return {
        "iterations_per_s": 1 / seconds["auto"],
        "share_of_gemm_rate": flop / seconds["auto"] / rate,
        "speedup_to_onednn": seconds["oneDNN"] / seconds["auto"],
        "speedup_to_float32": seconds["float32"] / seconds["auto"],
        "gflop": flop / 1e9,
        "gemm_gflop_per_s": rate / 1e9,
    }


def main() -> None:
    """Measure and print."""
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
