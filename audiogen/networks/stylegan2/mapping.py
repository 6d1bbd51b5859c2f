"""Define the mapping network, from a latent and a class to styles."""

import torch
from torch import Tensor, nn

from audiogen.distributed import all_reduce_mean
from audiogen.networks.stylegan2.layers import FullyConnected, normalize_second_moment

AVERAGE_DECAY = 0.998  # decay of the mean w per training step


class Mapping(nn.Module):
    """Map z and a class to w: a linear class embedding, joined to z, then dense layers (StyleGAN2-ADA, appendix C).

    Args:
        z_dim: Latent size; 0 maps only the class, as in the discriminator.
        num_classes: Number of classes; 0 for no class input.
        w_dim: Style size.
        num_ws: Number of copies of w to return; None returns one without that axis and keeps no average.
        num_layers: Number of dense layers.
        lr_multiplier: Learning rate relative to the other layers.
    """

    def __init__(
        self, z_dim: int, num_classes: int, w_dim: int, num_ws: int | None, num_layers: int, lr_multiplier: float = 0.01
    ) -> None:
        super().__init__()
        self.z_dim, self.num_classes, self.num_ws, self.num_layers = z_dim, num_classes, num_ws, num_layers
        if num_classes:
            self.embed = FullyConnected(num_classes, w_dim)
        features = z_dim + (w_dim if num_classes else 0)
        for index in range(num_layers):
            layer = FullyConnected(features if index == 0 else w_dim, w_dim, "lrelu", lr_multiplier)
            setattr(self, f"fc{index}", layer)
        if num_ws is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))
            self.w_avg: Tensor

    def forward(self, z: Tensor | None, label: Tensor | None, truncation: float = 1.0) -> Tensor:
        """Compute styles. In training, also update the running mean of w.

        Args:
            z: float32 [B, z_dim], standard normal; None if z_dim is 0.
            label: float32 [B, num_classes], one-hot or a mixture; None if num_classes is 0.
            truncation: Interpolates between the mean w (0) and w (1).

        Returns:
            float32 [B, num_ws, w_dim], or [B, w_dim] if num_ws is None.
        """
        given = [x for x in (z, label) if x is not None]
        with torch.autocast(given[0].device.type, enabled=False):
            parts = [] if z is None else [normalize_second_moment(z)]
            if label is not None:
                parts.append(normalize_second_moment(self.embed(label)))
            w = torch.cat(parts, dim=1)
            for index in range(self.num_layers):
                w = getattr(self, f"fc{index}")(w)
        if self.num_ws is None:
            return w
        if self.training:
            self.w_avg.lerp_(all_reduce_mean(w.mean(dim=0)), 1 - AVERAGE_DECAY)
        if truncation != 1:
            w = self.w_avg.lerp(w, truncation)
        return w[:, None].expand(-1, self.num_ws, -1)
