"""The non-saturating logistic loss (Goodfellow et al., 2014), as StyleGAN2 uses it.

Each function takes logits, float [B], and returns a scalar. The generator minimises `logistic_real` of its own clips.
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
