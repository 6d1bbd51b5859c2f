"""Are generated clips taken for the class they were made for? The coherence of Goel & Mehta.

The share of them is to be read beside the classifier's accuracy on real clips of the same split.
"""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from audiogen.scalars import DIVERSITY, QUALITY, Scalar


def coherence(confusion: Tensor) -> Tensor:
    """Return the share of clips on the diagonal of a confusion matrix, float64 [], of int64 [K, K]."""
    return confusion.diagonal().sum().double() / confusion.sum()


def class_entropy(confusion: Tensor) -> Tensor:
    """Return the entropy of the predicted classes, relative to that of the wanted ones: 0 where all are one class.

    Args:
        confusion: int64 [K, K], wanted classes in rows.

    Returns:
        float64 [], 1 where every class is predicted as often as it is wanted.

    Example:
        >>> float(class_entropy(torch.tensor([[5, 0], [5, 0]]))), float(class_entropy(torch.tensor([[0, 5], [5, 0]])))
        (0.0, 1.0)
    """
    wanted, predicted = (_entropy(confusion.sum(dim=dim)) for dim in (1, 0))
    return predicted / wanted


def _entropy(counts: Tensor) -> Tensor:
    return torch.special.entr(counts.double() / counts.sum()).sum()


class Coherence(MulticlassConfusionMatrix):
    """Share of clips taken for their class, overall and of each class, and the entropy of the predicted classes.

    Args:
        num_classes: K, at least 2.
    """

    scalars = (
        Scalar("coherence", QUALITY, higher_is_better=True, reference="real", headline=True),
        Scalar("class_entropy", DIVERSITY, higher_is_better=True),
    )

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Return coherence [], coherence_of [K] and class_entropy [], float64."""
        confusion = super().compute()
        of = confusion.diagonal().double() / confusion.sum(dim=1)
        return {"coherence": coherence(confusion), "coherence_of": of, "class_entropy": class_entropy(confusion)}
