"""Choose the domains to convert to, and divide a batch into clips to convert and clips of target domains."""

from typing import Literal, NamedTuple

from torch import Tensor

from audiogen import rng
from audiogen.data.batch import Batch


class Roles(NamedTuple):
    """Roles of the clips in a batch.

    Attributes:
        source: Clips to convert, float32 [N, C, F, L].
        source_domain: Domain of each source, int64 [N].
        target: Domain to convert each source to, int64 [N].
        real: Clips of target domains, float32 [M, C, F, L]. The discriminator sees them as real, and the generator has
            to reproduce them.
        real_domain: Domain of each real clip, int64 [M].
    """

    source: Tensor
    source_domain: Tensor
    target: Tensor
    real: Tensor
    real_domain: Tensor


def choose_targets(label_names: list[str], targets: list[str] | Literal["all"] | None) -> list[int]:
    """Return the indices of the domains to convert to.

    Args:
        label_names: Domain names in index order.
        targets: Names of target domains, "all", or None for the last domain.

    Raises:
        ValueError: If there are fewer than two domains, or if a target is repeated or not a domain.

    Example:
        >>> choose_targets(["a", "b"], None), choose_targets(["a", "b"], "all")
        ([1], [0, 1])
    """
    if len(label_names) < 2:
        raise ValueError(
            "conversion needs at least two domains, but the usable data have "
            f"{', '.join(label_names) or 'no classes'}: `python -m audiogen prepare` lists what was left out"
        )
    chosen = label_names[-1:] if targets is None else label_names if targets == "all" else list(targets)
    if not chosen or any(name not in label_names for name in chosen) or len(set(chosen)) < len(chosen):
        raise ValueError(f"targets must be some of {', '.join(label_names)}, got {', '.join(chosen) or 'none'}")
    return [label_names.index(name) for name in chosen]


def draw_roles(batch: Batch, allowed: Tensor) -> Roles:
    """Draw a target for each clip that can be converted, and collect the clips of target domains.

    Args:
        batch: Clips of all domains.
        allowed: 1 for each pair of domains that can be converted, else 0; float32 [source, target].

    Raises:
        ValueError: If the batch has no clip to convert or none of a target domain.
    """
    if not has_roles(batch.label, allowed):
        raise ValueError(
            f"a batch of {len(batch.label)} clips has none to convert or none of a target: draw domains evenly "
            "(--data.domains true), with at least one clip of each per process"
        )
    targets = allowed[batch.label]  # [B, num_domains]
    source, real = targets.any(dim=1), allowed.any(dim=0)[batch.label]
    threshold = rng.rand((len(targets), 1), targets.device) * targets.sum(dim=1, keepdim=True)
    target = (targets.cumsum(dim=1) <= threshold).sum(dim=1)
    return Roles(batch.spec[source], batch.label[source], target[source], batch.spec[real], batch.label[real])


def has_roles(label: Tensor, allowed: Tensor) -> bool:
    """Return whether clips with domains int64 [B] include both clips to convert and clips of a target domain."""
    return bool(allowed[label].any() and allowed.any(dim=0)[label].any())
