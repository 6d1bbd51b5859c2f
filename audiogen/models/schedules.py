"""Learning rates over a training, as shares of the highest one."""

import math

WARM_UP = 0.2  # of the training, in `one_cycle`


def falling(progress: float, start: float) -> float:
    """Return the share of the learning rate: all of it up to a share of the training, then in a line to nothing.

    Example:
        >>> [falling(progress, start=0.5) for progress in (0, 0.5, 0.75, 1)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return 1.0 if progress <= start else max((1 - progress) / (1 - start), 0.0)


def one_cycle(progress: float) -> float:
    """Return the share of the highest learning rate (Smith & Topin, 2019): up in the first fifth, then down to nothing.

    Args:
        progress: Share of the training that is done.

    Example:
        >>> [round(one_cycle(progress), 2) for progress in (0, 0.1, 0.2, 0.6, 1)]
        [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if progress < WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / WARM_UP)) / 2
    return (1 + math.cos(math.pi * min((progress - WARM_UP) / (1 - WARM_UP), 1))) / 2
