"""Cache the rows of real clips on disk, under a key of everything that they depend on."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import torch

from audiogen.atomic import replacing
from audiogen.checksums import seal, unsealed
from audiogen.fingerprint import fingerprint
from audiogen.metrics.embeddings.embedding import Batches, Embedded, Embedding, device_of_rows, embed
from audiogen.transforms.transform import SpectrogramTransform


def cached_embedder(folder: Path) -> Callable[[Embedding, Batches, SpectrogramTransform], Embedded]:
    """Return a version of `embed` that caches its results. If the folder cannot be written, it embeds every time.

    Args:
        folder: Folder of the cache, created if it is missing. Each entry takes a few MB.
    """

    def look_up(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> Embedded:
        """Return the cached rows, or embed the clips and cache their rows; see `embed`."""
        path = folder / f"{_key(embedding, batches, transform)}.pt"
        device = device_of_rows(next(iter(batches))[0].device)
        try:
            content = BytesIO(unsealed(path.read_bytes()))
            return Embedded(*torch.load(content, map_location=device, weights_only=True))
        except OSError:  # not cached
            pass
        except Exception as error:
            warnings.warn(f"{path} is damaged ({error}). Embedding the clips again", stacklevel=2)
        found, content = embed(embedding, batches, transform), BytesIO()
        torch.save(tuple(found), content)
        with suppress(OSError), replacing(path) as file:
            file.write(seal(content.getvalue()))
        return found

    return look_up


def _key(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> str:
    """Return a fingerprint of the clips, the embedding and the transform.

    The phase method is left out if the embedding takes the spectrograms directly, since no audio is made then.
    """
    clips = [fingerprint(spec, label) for spec, label in batches]
    unused = transform.phase if embedding.takes(transform) else None
    return fingerprint(clips, embedding, transform, without=unused)
