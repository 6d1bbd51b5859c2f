"""Compute adversarial losses: non-saturating logistic (StyleGAN2) and hinge (MelGAN-VC).

Source of the logistic loss: Goodfellow et al. (2014). Each function takes logits, float [B], and returns a scalar. The
generator minimises `logistic_real` of its clips' logits with the logistic loss, and minus their mean with the hinge
loss.
"""

import torch.nn.functional as F
from torch import Tensor


def logistic_real(logits: Tensor) -> Tensor:
    """Return the logistic loss of logits that should be real: mean of -log sigmoid(logits).

    Example:
        >>> import torch
        >>> logistic_real(torch.zeros(2))
        tensor(0.6931)
    """
    return F.softplus(-logits).mean()


def logistic_fake(logits: Tensor) -> Tensor:
    """Return the logistic loss of logits that should be fake: mean of -log(1 - sigmoid(logits)).

    Example:
        >>> import torch
        >>> logistic_fake(torch.full((2,), -20.0)) < 1e-6
        tensor(True)
    """
    return F.softplus(logits).mean()


def hinge_real(logits: Tensor) -> Tensor:
    """Return the hinge loss of real clips' logits: mean of max(0, 1 - logits).

    Example:
        >>> import torch
        >>> hinge_real(torch.tensor([0.0, 3.0]))
        tensor(0.5000)
    """
    return F.relu(1 - logits).mean()


def hinge_fake(logits: Tensor) -> Tensor:
    """Return the hinge loss of fake clips' logits: mean of max(0, 1 + logits).

    Example:
        >>> import torch
        >>> hinge_fake(torch.tensor([0.0, -3.0]))
        tensor(0.5000)
    """
    return F.relu(1 + logits).mean()
