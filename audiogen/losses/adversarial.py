"""Adversarial losses: non-saturating logistic (Goodfellow et al., 2014), as in StyleGAN2, and hinge, as in MelGAN-VC.

Each function takes logits, float [B], and returns a scalar. With the logistic ones, the generator minimises
`logistic_real` of its own clips; with the hinge ones, minus the mean of their logits.
"""

import torch.nn.functional as F
from torch import Tensor


def logistic_real(logits: Tensor) -> Tensor:
    """Return the loss of calling clips fake: mean of -log sigmoid(logits).

    Example:
        >>> import torch
        >>> logistic_real(torch.zeros(2))
        tensor(0.6931)
    """
    return F.softplus(-logits).mean()


def logistic_fake(logits: Tensor) -> Tensor:
    """Return the loss of calling clips real: mean of -log(1 - sigmoid(logits)).

    Example:
        >>> import torch
        >>> logistic_fake(torch.full((2,), -20.0)) < 1e-6
        tensor(True)
    """
    return F.softplus(logits).mean()


def hinge_real(logits: Tensor) -> Tensor:
    """Return how far logits of real clips fall short of 1: mean of max(0, 1 - logits).

    Example:
        >>> import torch
        >>> hinge_real(torch.tensor([0.0, 3.0]))
        tensor(0.5000)
    """
    return F.relu(1 - logits).mean()


def hinge_fake(logits: Tensor) -> Tensor:
    """Return how far logits of made clips exceed -1: mean of max(0, 1 + logits).

    Example:
        >>> import torch
        >>> hinge_fake(torch.tensor([0.0, -3.0]))
        tensor(0.5000)
    """
    return F.relu(1 + logits).mean()
