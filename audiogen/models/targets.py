"""Choose the domains that a model converts to."""

from typing import Literal


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
