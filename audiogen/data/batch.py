"""Define the batch that models receive."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Clips of one training or evaluation step.

    Attributes:
        spec: float32 [B, C, F, L] in [-1, 1].
        label: int64 [B], indices into the data set's class names; all 0 without classes.
    """

    spec: Tensor
    label: Tensor
