"""Embed real clips once: their rows are kept on disk, by a key of all that decides them."""

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
    """Return `embed` with a memory in a folder; where that cannot be written, it embeds each time.

    Args:
        folder: For files of a few MB each; made where it is missing.
    """

    def look_up(embedding: Embedding, batches: Batches, transform: SpectrogramTransform) -> Embedded:
        """Embed, or read what was embedded before; arguments as of `embed`."""
        path = folder / f"{_key(embedding, batches, transform)}.pt"
        device = device_of_rows(next(iter(batches))[0].device)
        try:
            content = BytesIO(unsealed(path.read_bytes()))
            return Embedded(*torch.load(content, map_location=device, weights_only=True))
        except OSError:  # missing
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
    """Return a fingerprint of the clips, of the embedding and of the way to it.

    The phase method makes the sounds that are embedded, unless the embedding takes the spectrograms as they are.
    """
    clips = [fingerprint(spec, label) for spec, label in batches]
    unused = transform.phase if embedding.takes(transform) else None
    return fingerprint(clips, embedding, transform, without=unused)
