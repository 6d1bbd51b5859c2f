"""Cost and exactness of the metrics: `python -m benchmarks.metrics [JSON]`.

First our Frechet distance beside a direct computation with NumPy and scipy's matrix root, from the same rows: number,
time and memory (peak of a process of its own, less the rows). Then an evaluation of 1,000 clips of 64 x 64: made by a
generator of the size of `stylegan2_fsdd.yaml`, embedded by a classifier, all metrics, overall and of each class.
"""

import json
import multiprocessing
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import DatasetView, Evaluator
from audiogen.metrics.frechet import FrechetDistance
from audiogen.networks.classifier import SpectrogramCNN
from audiogen.networks.stylegan2 import Generator
from audiogen.transforms.mel import LogMel
from benchmarks.timing import fastest

NUM_ROWS = (1_000, 10_000, 50_000)
NUM_FEATURES = (128, 512, 2048)
BATCH = 1000
NAMES = [str(index) for index in range(10)]


def ours(real: torch.Tensor, generated: torch.Tensor) -> float:
    """Return the distance by the metric, in batches as they come."""
    metric = FrechetDistance()
    metric.set_real(real[:, None])
    for part in generated.split(BATCH):
        metric.update(part[:, None])
    return float(metric.compute()["fad"])


def direct(real: torch.Tensor, generated: torch.Tensor) -> float:
    """Return the distance by the textbook formula."""
    a, b = real.double().numpy(), generated.double().numpy()
    mean = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(mean @ mean + np.trace(cov_a + cov_b - 2 * root.real))


def rows(num: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return real and generated rows, float32 [N, D], with correlated features."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(size, size, generator=generator) / size**0.5
    real = torch.randn(num, size, generator=generator) @ mix
    return real, 1.1 * torch.randn(num, size, generator=generator) @ mix + 0.1


def _peak(method: Callable[..., float], num: int, size: int, queue: Any) -> None:
    real, generated = rows(num, size)
    method(*rows(300, 128))  # libraries load what they need
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (Linux)
    before = memory_mb("VmRSS")
    method(real, generated)
    queue.put(memory_mb("VmHWM") - before)


def memory_mb(kind: str) -> float:
    """Return the resident memory of this process in MB, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def peak_mb(method: Callable[..., float], num: int, size: int) -> float:
    """Return how much memory a method takes beyond its rows, in MB."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(method, num, size, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


class ClassifierFeatures(Embedding):
    """The classifier's network with random weights: they cost the same."""

    def __init__(self, transform: LogMel) -> None:
        super().__init__("classifier", 32, transform.sample_rate, transform)
        self.label_names = NAMES
        self.network = SpectrogramCNN(transform.shape, len(NAMES))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Embed spec [B, 1, 64, 64] as [B, 1, 32]."""
        return self.network.embed(clips)[:, None]

    def classify(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the class of each clip."""
        return self.network.logits(rows[:, 0]).argmax(dim=1)


def evaluation() -> dict[str, Callable[[], object]]:
    """Return functions that make 1,000 clips of 64 x 64 of ten classes, and that score them."""
    transform = LogMel(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=64, num_frames=64)
    torch.manual_seed(0)
    spec, label = torch.rand(1000, 1, 64, 64) * 2 - 1, torch.arange(10).repeat_interleave(100)
    evaluator = Evaluator([ClassifierFeatures(transform)], transform, NAMES, num_clips=1000)
    clips = DatasetView(lambda chosen: spec[chosen], label)
    evaluator.set_real(clips, clips)

    def score() -> dict[str, float]:
        evaluator.update((spec[part], label[part]) for part in torch.arange(1000).split(64))
        return evaluator.compute()

    generator = Generator((1, 64, 64), 10, z_dim=64, w_dim=256, channel_base=4096, channel_max=128).eval()
    one_hot = torch.nn.functional.one_hot(label).float()

    @torch.no_grad()
    def make() -> None:
        for part in torch.arange(1000).split(16):
            generator.synthesis(generator.mapping(torch.randn(len(part), 64), one_hot[part]), noise_mode="const")

    return {"scoring": score, "generation": make}


def main(path: Path | None) -> None:
    """Measure and print."""
    found: dict[str, dict[str, float]] = {}
    heads = f"{'rows':>8}{'features':>10}{'ours':>14}{'scipy':>14}{'rel. diff.':>12}"
    print(f"{heads}{'s':>9}{'s scipy':>9}{'MB':>8}{'MB scipy':>10}")
    for size in NUM_FEATURES:
        for num in NUM_ROWS:
            real, generated = rows(num, size)
            values = {method: method(real, generated) for method in (ours, direct)}
            runs = {method.__name__: partial(method, real, generated) for method in (ours, direct)}
            seconds = fastest(runs, rounds=10 if size < 2048 else 2)
            memory = {method: peak_mb(method, num, size) for method in (ours, direct)}
            difference = abs(values[ours] - values[direct]) / values[direct]
            print(
                f"{num:>8}{size:>10}{values[ours]:>14.6g}{values[direct]:>14.6g}{difference:>12.1e}"
                f"{seconds['ours']:>9.3f}{seconds['direct']:>9.3f}{memory[ours]:>8.0f}{memory[direct]:>10.0f}",
                flush=True,
            )
            found[f"{num} x {size}"] = {
                "relative_difference": difference,
                "seconds": seconds["ours"],
                "seconds_scipy": seconds["direct"],
                "mb": memory[ours],
                "mb_scipy": memory[direct],
            }
    seconds = fastest(evaluation(), 5)
    print("1,000 clips of 64 x 64:", ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))
    found["evaluation of 1,000 clips"] = seconds
    print(json.dumps(found))
    if path is not None:
        path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
