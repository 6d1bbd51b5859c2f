"""Embed real clips once: their rows are kept on disk, by a key of all that decides them."""

import hashlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiogen.atomic import replacing
from audiogen.metrics.embeddings.embedding import Batches, Embedded, Embedding, device_of_rows, embed
from audiogen.transforms.transform import SpectrogramTransform


def remembered(folder: Path) -> Callable[[Embedding, Batches, SpectrogramTransform], Embedded]:
    """Return `embed` with a memory in a folder; where that cannot be written, it embeds each time.

    Args:
        folder: For files of a few MB each; made where it is missing.
    """

    def look_up(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> Embedded:
        """Embed, or read what was embedded before; arguments as of `embed`."""
        path = folder / f"{_key(embedding, batches, transform)}.pt"
        device = device_of_rows(next(iter(batches))[0].device)
        try:
            rows, label, predicted = torch.load(path, map_location=device, weights_only=True)
            return Embedded(rows, label, predicted)
        except Exception:  # missing or damaged
            found = embed(embedding, batches, transform)
        with suppress(OSError, RuntimeError), replacing(path) as file:  # torch hides the former in the latter
            torch.save(tuple(found), file)
        return found

    return look_up


def _key(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> str:
    """Return a digest of the clips, and of weights, settings and code of the embedding and of the way to it."""
    digest = hashlib.sha256(repr([_settings(embedding), _settings(transform)]).encode())
    for name, tensor in sorted(embedding.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    for spec, label in batches:
        digest.update(_bytes(spec))
        digest.update(_bytes(label))
    return digest.hexdigest()[:32]


def _settings(module: nn.Module) -> list[tuple[Any, ...]]:
    """Return name, class, digest of the code, and plain attributes of a module and all below it."""
    found = []
    for name, part in module.named_modules():
        kind = type(part)
        plain = sorted((key, x) for key, x in vars(part).items() if isinstance(x, str | int | float | tuple | None))
        plain = [(key, x) for key, x in plain if key != "training"]
        found.append((name, f"{kind.__module__}.{kind.__qualname__}", _code(kind), plain))
    return found


def _code(kind: type) -> str:
    """Return a digest of the file that defines a class; nothing where there is none."""
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
