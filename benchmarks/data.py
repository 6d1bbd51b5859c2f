"""Measure building and reading of stored spectrograms: `python -m benchmarks.data [SIZES]`.

Sets of 1,000, 10,000 and 100,000 clips of 128 x 128 (2.05 s at 16 kHz) are measured, each in its own process:

- build: clips per second with all cores;
- read: clips per second, and milliseconds per random batch of 64, through the training stream;
- the same reads from a float32 tensor in memory, which the store replaces;
- memory: growth of the process's anonymous memory, without pages of the mapped file, which the system can reclaim.

The files are links to 500 files of noise, so that the sets fit on a disk. Every link is read and computed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from audiogen.audio.io import write_audio
from audiogen.data.cache import cached_store
from audiogen.data.loading import Spectrograms
from audiogen.data.pipeline import Pipeline
from audiogen.data.stream import BatchStream
from audiogen.transforms.mel import LogMel
from benchmarks.timing import fastest

SIZES = (1_000, 10_000, 100_000)
NUM_SOUNDS = 500
BATCH, BATCHES = 64, 50


def memory_mb() -> float:
    """Return the anonymous resident memory of this process in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


def write_sounds(folder: Path, size: int) -> list[Path]:
    """Write files of noise of 1 s and return `size` links to them."""
    generator = torch.Generator().manual_seed(0)
    sounds = [folder / f"{index}.wav" for index in range(min(NUM_SOUNDS, size))]
    for path in sounds:
        write_audio(path, torch.randn(1, 16000, generator=generator) / 10, 16000)
    links = [folder / f"{index}-{sounds[index % NUM_SOUNDS].name}" for index in range(len(sounds), size)]
    for link in links:
        link.symlink_to(link.name.split("-")[1])
    return sounds + links


def measure(size: int) -> dict[str, float]:
    """Build and read a set of one size; return its metrics."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sounds").mkdir()
        paths = write_sounds(folder / "sounds", size)
        pipeline = Pipeline(LogMel(16000, 1024, 256, 128, 128))
        start = time.perf_counter()
        cached_store(paths, pipeline, folder / "cache", num_workers=os.cpu_count() or 1)
        build_seconds = time.perf_counter() - start
        in_memory = torch.rand(1000, 1, 128, 128)
        before = memory_mb()
        start = time.perf_counter()
        store = cached_store(paths, pipeline, folder / "cache", num_workers=1)
        open_seconds = time.perf_counter() - start
        clips = Spectrograms(store, torch.arange(size), torch.zeros(size, dtype=torch.int64), 128)
        stream = iter(BatchStream(size, BATCH, seed=0))

        def read_store() -> None:
            for crop_indices in islice(stream, BATCHES):
                clips.__getitems__(crop_indices)

        def read_memory() -> None:
            for _ in range(BATCHES):
                in_memory[torch.randint(1000, (BATCH,))]

        seconds = fastest({"store": read_store, "memory": read_memory})
        return {
            "clips": size,
            "build_clips_per_s": size / build_seconds,
            "open_s": open_seconds,
            "batch_ms": 1000 * seconds["store"] / BATCHES,
            "batch_ms_memory": 1000 * seconds["memory"] / BATCHES,
            "read_clips_per_s": BATCH * BATCHES / seconds["store"],
            "memory_mb": memory_mb() - before,
        }


def main(sizes: list[int]) -> None:
    """Measure each size in its own process and print the table."""
    heads = ("clips", "build clips/s", "open (s)", "batch of 64 (ms)", "from memory (ms)", "read clips/s", "held (MB)")
    print("".join(f"{head:>18}" for head in heads))
    rows = []
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.data", "--measure", str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("".join(f"{value:>18,.2f}" for value in rows[-1].values()), flush=True)
    scores = {f"{name}_{row['clips']}": round(value, 3) for row in rows for name, value in row.items()}
    print(json.dumps(scores))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        main([int(size) for size in sys.argv[1:]] or list(SIZES))
