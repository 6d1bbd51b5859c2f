"""Go on where a gradient is NaN or infinite."""

import lightning

from audiogen.capabilities import trained


class SkipNonFinite(lightning.Callback):
    """Skip steps whose gradients are NaN or infinite, which by default end the training.

    The network with such a gradient keeps its weights, and running statistics are as before the step; other networks
    of the step are updated. Each is reported, with the network and the clips shown. With several processes all of them
    skip.

    Args:
        max_in_a_row: More of them than this end the training all the same.

    Raises:
        ValueError: For less than 1.
    """

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f"max_in_a_row must be at least 1, got {max_in_a_row}")
        self.max_in_a_row = max_in_a_row

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Set the limit in the model."""
        model = trained(pl_module)
        model.max_skipped = self.max_in_a_row
