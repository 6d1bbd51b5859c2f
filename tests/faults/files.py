"""Files that are damaged at random, and what becomes of them: checkpoints, stores, caches, tables and settings.

These faults need no process of their own: a file is changed as a bad disk, a bad copy or a full disk would, and what
reads it is asked for the result. It has to be that of the undamaged file, or of the checkpoint before.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from audiogen.callbacks.metrics_csv import MetricsCSV
from audiogen.callbacks.mode_collapse import ModeCollapse
from audiogen.checkpoint_io import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN, CheckpointError, newest_checkpoint, read
from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.module import SpectrogramData
from audiogen.metrics.embeddings.cache import cached_embedder
from audiogen.metrics.embeddings.classifier import Classifier
from audiogen.metrics.embeddings.embedding import Embedded
from audiogen.run_settings import differences
from audiogen.transforms.mel import LogMel
from tests.faults.bench import Bench, Outcome

Change = Callable[[bytes, random.Random], bytes]


def _flip(content: bytes, rng: random.Random) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _zeros(content: bytes, rng: random.Random) -> bytes:
    """Lose a block of a disk: zeros, where there was something else."""
    start = rng.randrange(len(content))
    end = min(start + 512, len(content))
    changed = content[:start] + b"\0" * (end - start) + content[end:]
    return changed if changed != content else _flip(content, rng)


def _noise(content: bytes, rng: random.Random) -> bytes:
    """Get another block of a disk."""
    start = rng.randrange(len(content))
    end = min(start + 512, len(content))
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _cut(content: bytes, rng: random.Random) -> bytes:
    """Lose the end."""
    return content[: rng.randrange(len(content))]


DAMAGES: dict[str, Change] = {"one bit": _flip, "zeros": _zeros, "noise": _noise, "cut off": _cut}


def _damages(num: int) -> Iterator[tuple[str, Change, random.Random]]:
    """Yield kinds of damage in turn, each with random numbers of its own."""
    for index in range(num):
        name, change = list(DAMAGES.items())[index % len(DAMAGES)]
        yield name, change, random.Random(index)


def damaged_checkpoints(bench: Bench, num: int) -> Outcome:
    """The newest checkpoint is damaged: it is told apart, refused where it is named, and the one before it is used."""
    outcome = Outcome("newest checkpoint damaged at random")
    run = bench.folder / "damaged-at-random"
    (run / CHECKPOINT_FOLDER).mkdir(parents=True)
    *_, older, newest = sorted((bench.reference / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN))
    for path in (older, newest):
        shutil.copy(path, run / CHECKPOINT_FOLDER)
    target, whole = run / CHECKPOINT_FOLDER / newest.name, newest.read_bytes()
    for name, change, rng in _damages(num):
        target.write_bytes(change(whole, rng))
        outcome.injected += 1
        found = newest_checkpoint(run)
        if found is None or found.name != older.name:
            outcome.differ.append(f"{name}: {found} was used")
            continue
        try:
            read(target)
            outcome.differ.append(f"{name}: read where it was named")
        except CheckpointError:
            outcome.survived += 1
    outcome.note = "the one before it used"
    return outcome


def damaged_stores(bench: Bench, num: int) -> Outcome:
    """A file of a store of spectrograms is damaged: it is computed again, and what is read is what was there."""
    outcome = Outcome("store of spectrograms damaged at random")
    cache = bench.folder / "damaged-store"
    expected = _clips(data_of(bench, cache))
    (place,) = [path for path in (cache / "spectrograms").iterdir() if path.is_dir()]
    files = sorted(path for path in place.iterdir() if path.is_file() and path.stat().st_size)
    content = {path: path.read_bytes() for path in files}
    for index, (name, change, rng) in enumerate(_damages(num)):
        path = files[index // len(DAMAGES) % len(files)]
        path.write_bytes(change(content[path], rng))
        outcome.injected += 1
        found = _clips(data_of(bench, cache))
        same = all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        outcome.survived += same
        if not same:
            outcome.differ.append(f"{path.name}, {name}")
        place.mkdir(exist_ok=True)
        for each, whole in content.items():
            each.write_bytes(whole)
    outcome.note = "computed again"
    return outcome


def data_of(bench: Bench, cache: Path, num_workers: int = 1) -> SpectrogramData:
    """Return the bench's data, with a cache of its own."""
    transform = LogMel(8000, 512, 128, n_mels=32, num_frames=32, floor_db=-100, ceil_db=20)
    return SpectrogramData(
        ClassFolders(val_fraction=0.25), transform, root=str(bench.data), cache=str(cache), num_workers=num_workers
    )


def _clips(data: SpectrogramData) -> list[torch.Tensor]:
    """Return all clips of all splits, and their classes."""
    found: list[torch.Tensor] = []
    for _, clips in sorted(data.loaded.splits.items()):
        found += clips.__getitems__([(index, 0.5) for index in range(len(clips))])
    return found


def damaged_embeddings(bench: Bench, num: int) -> Outcome:
    """The cached embeddings of real clips are damaged: the clips are embedded again."""
    outcome = Outcome("cached embeddings damaged at random")
    folder = bench.folder / "damaged-embeddings"
    data = data_of(bench, bench.folder / "damaged-store")
    batches = [tuple(data.split("val").__getitems__([(i, 0.5) for i in range(len(data.split("val")))]))]
    embedding = Classifier(str(bench.classifier)).eval()

    def embed() -> Embedded:
        return cached_embedder(folder)(embedding, batches, data.transform)  # type: ignore[arg-type]

    expected = embed()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for name, change, rng in _damages(num):
        path.write_bytes(change(whole, rng))
        outcome.injected += 1
        same = torch.equal(embed().rows, expected.rows)
        outcome.survived += same
        if not same:
            outcome.differ.append(name)
    outcome.note = "embedded again"
    return outcome


def damaged_tables(bench: Bench, num: int) -> Outcome:
    """The table of metrics gets zeros, noise or is cut off: whole rows are kept, the file is kept beside it."""
    outcome = Outcome("metrics.csv damaged at random")
    whole = (bench.reference / "metrics.csv").read_bytes()
    lines = whole.splitlines()
    for index, (name, change, rng) in enumerate(_damages(num)):
        if name == "one bit":  # of a digit, nobody can tell: lines are lost instead
            change = _noise
        run = bench.folder / f"table-{index}"
        run.mkdir()
        damaged = change(whole, rng)
        (run / "metrics.csv").write_bytes(damaged)
        outcome.injected += 1
        logger = MetricsCSV(run)
        logger.resume_from(10**9)
        logger.log_metrics({"loss/generator": 1.0}, step=10**9)
        kept = (run / "metrics.csv").read_text().splitlines()
        untouched = [line for line in damaged.splitlines()[1:] if line in lines]
        header = damaged.splitlines()[:1] == lines[:1]
        aside = (run / "metrics.csv.damaged").exists()
        survived = len(kept) - 2 >= len(untouched) if header else aside or not damaged
        outcome.survived += survived
        if not survived:
            outcome.differ.append(f"{name}: {len(kept) - 2} of {len(untouched)} rows")
        shutil.rmtree(run)
    outcome.note = "set aside, whole rows kept"
    return outcome


def damaged_records(bench: Bench, num: int) -> Outcome:
    """Settings and events get zeros, noise or are cut off: set aside, and the run is continued."""
    outcome = Outcome("config.yaml and events.jsonl damaged at random")
    newest = max((bench.reference / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN))
    settings = (bench.reference / "config.yaml").read_text()
    text = settings.partition("\n")[2] if settings.startswith("#") else settings  # without the signature
    events = b"".join(b'{"kimg": %d, "rule": "x", "text": "y", "stop": false}\n' % index for index in range(20))

    class Trainer:
        is_global_zero = True
        default_root_dir = str(bench.folder / "records")

    class Model:
        kimg = 100.0

    run = Path(Trainer.default_root_dir)
    for name, change, rng in _damages(num):
        if name == "one bit":
            change = _zeros
        run.mkdir()
        (run / "config.yaml").write_bytes(change(settings.encode(), rng))
        (run / "events.jsonl").write_bytes(change(events, rng))
        outcome.injected += 2
        told = differences(run, newest, text)
        # Zeros and noise are no YAML, a cut-off file has no end: the checkpoint's own settings are compared.
        outcome.survived += told == ""
        if told:
            outcome.differ.append(f"config.yaml, {name}: {told}")
        watch: Any = ModeCollapse()
        watch.on_train_start(Trainer(), Model())
        left = (run / "events.jsonl").read_bytes().splitlines()
        outcome.survived += all(line in events.splitlines() for line in left)
        shutil.rmtree(run)
    outcome.note = "set aside, the checkpoint knows the settings"
    return outcome
