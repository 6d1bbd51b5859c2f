"""Measure by a classifier whether clips belong to the class they were generated for.

`coherence` is the metric of Goel et al. (2020). Compare it with the classifier's accuracy on real clips of the same
split.
"""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from audiogen.scalars import DIVERSITY, QUALITY, Scalar


def coherence(confusion: Tensor) -> Tensor:
    """Return the fraction of clips on the diagonal of a confusion matrix int64 [K, K], float64 []."""
    return confusion.diagonal().sum().double() / confusion.sum()


def class_entropy(confusion: Tensor) -> Tensor:
    """Return the entropy of the predicted classes, divided by the entropy of the intended classes.

    Args:
        confusion: int64 [K, K], with intended classes in rows and predicted classes in columns.

    Returns:
        float64 []: 0 if all clips are predicted as one class, 1 if the predicted classes are as balanced as the
        intended ones.

    Example:
        >>> float(class_entropy(torch.tensor([[5, 0], [5, 0]]))), float(class_entropy(torch.tensor([[0, 5], [5, 0]])))
        (0.0, 1.0)
    """
    intended, predicted = (_entropy(confusion.sum(dim=dim)) for dim in (1, 0))
    return predicted / intended


def _entropy(counts: Tensor) -> Tensor:
    return torch.special.entr(counts.double() / counts.sum()).sum()


class Coherence(MulticlassConfusionMatrix):
    """Fraction of clips classified as intended, overall and per class, and relative entropy of the predictions.

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
