"""What metrics of embedded clips share: torchmetrics classes that compare generated rows with real ones."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from audiogen.scalars import Scalar


class EmbeddingMetric(Metric, ABC):
    """Compare rows of generated clips with rows of real ones.

    Real rows are given once, to every process the same; generated rows are shared among the processes, which is what
    torchmetrics puts together in `compute`. All arithmetic is float64.

    Attributes:
        scalars: Description of each score that `compute` returns, by the same names. The evaluator adds the name of
            the embedding, and the class where there is one.
        per_class: Whether the evaluator also computes it for each class.
    """

    full_state_update = False
    scalars: ClassVar[tuple[Scalar, ...]] = ()
    per_class: ClassVar[bool] = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_dtype(torch.float64)

    def minimum_rows(self, num_features: int) -> int:
        """Return how many real and generated clips of `num_features` it takes at least."""
        return 2

    @abstractmethod
    def set_real(self, rows: Tensor) -> None:
        """Take the rows of real clips, float [N, K, D]."""

    @abstractmethod
    def update(self, rows: Tensor) -> None:
        """Add rows of generated clips, float [N, K, D]."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by their names, float64 []."""


MAX_REAL = 5000  # all pairs of them take 200 MB


class ClipMetric(EmbeddingMetric):
    """A metric that has to see all clips at once. But for those that say otherwise, a clip is the mean of its rows.

    Of more than 5,000 real clips it sees as many, drawn once and for all.
    """

    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def set_real(self, rows: Tensor) -> None:
        """Take the rows of real clips, float [N, K, D]."""
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MAX_REAL].to(rows.device)
        self.real = (rows[chosen] if len(rows) > MAX_REAL else rows).double().mean(dim=1)  # [N, D]

    def update(self, rows: Tensor) -> None:
        """Add rows of generated clips, float [N, K, D]."""
        self.rows.append(rows.double())

    @property
    def generated_rows(self) -> Tensor:
        """All generated clips, float64 [N, K, D], in an order that does not depend on how they were shared."""
        rows = dim_zero_cat(self.rows)
        return rows[rows.sum(dim=(1, 2)).argsort()]

    @property
    def generated(self) -> Tensor:
        """Generated clips, float64 [N, D]."""
        return self.generated_rows.mean(dim=1)
