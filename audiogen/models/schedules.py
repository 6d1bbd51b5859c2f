"""Schedule learning rates over training, as fractions of the peak learning rate."""

import math

WARM_UP = 0.2  # fraction of training in `one_cycle`


def falling(progress: float, start: float) -> float:
    """Return the factor of a learning rate that is constant at first and then falls linearly to 0.

    Args:
        progress: Fraction of training that is done, in [0, 1].
        start: Fraction of training at which the fall begins.

    Example:
        >>> [falling(progress, start=0.5) for progress in (0, 0.5, 0.75, 1)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return 1.0 if progress <= start else max((1 - progress) / (1 - start), 0.0)


def one_cycle(progress: float) -> float:
    """Return the factor of a learning rate that rises for the first fifth of training, then falls to 0.

    One-cycle policy with cosine slopes (Smith & Topin, 2019).

    Args:
        progress: Fraction of training that is done, in [0, 1].

    Example:
        >>> [round(one_cycle(progress), 2) for progress in (0, 0.1, 0.2, 0.6, 1)]
        [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if progress < WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / WARM_UP)) / 2
    return (1 + math.cos(math.pi * min((progress - WARM_UP) / (1 - WARM_UP), 1))) / 2
