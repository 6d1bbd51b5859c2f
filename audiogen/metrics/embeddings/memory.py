"""Embed real clips once: their rows are kept on disk, by a key of all that decides them."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from audiogen.metrics.embeddings.embedding import Batches, Embedded, Embedding, embed
from audiogen.transforms.transform import SpectrogramTransform


def remembered(folder: Path) -> Callable[[Embedding, Batches, SpectrogramTransform], Embedded]:
    """Return `embed` with a memory in a folder; where that cannot be written, it embeds each time.

    Args:
        folder: For files of a few MB each; made where it is missing.
    """

    def look_up(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> Embedded:
        path = folder / f"{_key(embedding, batches, transform)}.pt"
        device = next((weight.device for weight in embedding.parameters()), torch.device("cpu"))
        try:
            rows, label, predicted = torch.load(path, map_location=device, weights_only=True)
            return Embedded(rows, label, predicted)
        except Exception:  # missing or damaged
            found = embed(embedding, batches, transform)
        part = path.with_suffix(f".{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(tuple(found), part)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
        return found

    return look_up


def _key(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> str:
    """Return a digest of the clips, the weights and the way between them."""
    digest = hashlib.sha256(f"{type(embedding).__qualname__} {embedding.describe(transform)} {transform}".encode())
    for name, tensor in sorted(embedding.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    for spec, label in batches:
        digest.update(_bytes(spec))
        digest.update(_bytes(label))
    return digest.hexdigest()[:32]


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
