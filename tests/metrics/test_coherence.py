"""Coherence and the entropy of predicted classes."""

import pytest
import torch

from audiogen.metrics.coherence import Coherence


def test_coherence_is_the_fraction_classified_as_intended() -> None:
    metric = Coherence(3)
    metric.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
    metric.update(torch.tensor([2, 1]), torch.tensor([2, 2]))
    found = metric.compute()
    assert float(found["coherence"]) == pytest.approx(4 / 6)
    assert found["coherence_of"].tolist() == pytest.approx([2 / 3, 1, 1 / 2])


def test_entropy_is_zero_for_one_class_and_one_for_balanced_classes() -> None:
    wanted = torch.arange(4).repeat(5)
    for predicted, entropy in (
        (wanted, 1.0),
        (torch.zeros_like(wanted), 0.0),
        ((wanted + 1) % 4, 1.0),
        (wanted % 2, 0.5),
    ):
        metric = Coherence(4)
        metric.update(predicted, wanted)
        assert float(metric.compute()["class_entropy"]) == pytest.approx(entropy)
