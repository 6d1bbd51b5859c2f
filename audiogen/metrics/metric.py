"""Base classes for metrics that compare embedded clips: generated rows with real ones."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from audiogen.scalars import Scalar


class EmbeddingMetric(Metric, ABC):
    """Compare rows of generated clips with rows of real ones.

    Every process sets all real rows, and adds its own slice of the generated rows. torchmetrics gathers the slices in
    `compute`. All arithmetic is float64.

    Attributes:
        scalars: Descriptions of the scores, with the names that `compute` returns. The evaluator appends the name of
            the embedding.
        per_class: Whether the evaluator also computes it for each class.
    """

    full_state_update = False
    scalars: ClassVar[tuple[Scalar, ...]] = ()
    per_class: ClassVar[bool] = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_dtype(torch.float64)

    def minimum_rows(self, num_features: int) -> int:
        """Return the minimum number of real, and of generated, clips for rows with `num_features` features."""
        return 2

    @abstractmethod
    def set_real(self, rows: Tensor) -> None:
        """Set the rows of real clips, float [N, K, D]."""

    @abstractmethod
    def update(self, rows: Tensor) -> None:
        """Add rows of generated clips, float [N, K, D]."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Return the scores by name, float64 []."""


MAX_REAL = 5000  # their pairwise distances take 5000^2 * 8 bytes = 200 MB


class ClipMetric(EmbeddingMetric):
    """Base of metrics that need all clips at once. By default, a clip is represented by the mean of its rows.

    A fixed random selection of at most 5,000 real clips is used.
    """

    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def set_real(self, rows: Tensor) -> None:
        """Set the rows of real clips, float [N, K, D]."""
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MAX_REAL].to(rows.device)
        self.real = (rows[chosen] if len(rows) > MAX_REAL else rows).double().mean(dim=1)  # [N, D]

    def update(self, rows: Tensor) -> None:
        """Add rows of generated clips, float [N, K, D]."""
        self.rows.append(rows.double())

    @property
    def generated_rows(self) -> Tensor:
        """All generated clips, float64 [N, K, D], in an order that does not depend on the number of processes."""
        rows = dim_zero_cat(self.rows)
        return rows[rows.sum(dim=(1, 2)).argsort()]

    @property
    def generated(self) -> Tensor:
        """All generated clips as means of their rows, float64 [N, D]."""
        return self.generated_rows.mean(dim=1)
