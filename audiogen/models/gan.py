"""Share what GANs have in common: averaged generator weights, precision and Adam with the configured rates."""

from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any, Self

from torch import nn
from torch.optim import Adam, Optimizer

from audiogen.models.kimg import KimgModule
from audiogen.models.precision import Precision, autocast, channels_last
from audiogen.networks.averaging import average_decay, update_average
from audiogen.transforms.transform import SpectrogramTransform


class GAN(KimgModule):
    """Base class of a generator and a discriminator that train against each other.

    Args:
        transform: The spectrogram definition.
        label_names: Class names in index order.
        batch_size: Clips per step over all processes.
        total_kimg: Length of training in thousands of clips shown.
        log_every_kimg: Interval of the logged means, in thousands of clips.
        generator: Generator network.
        discriminator: Discriminator network.
        augment: Augmentation of clips; None for none.
        betas: Adam's first- and second-moment decays.
        ema_half_life_kimg: Half-life of the averaged generator weights, in thousands of clips; 0 copies the generator.
        ema_ramp_up: Upper limit of the half-life as a fraction of the clips shown so far; None for no limit.
        precision: Arithmetic of the convolutions: "bf16", "fp32", or "auto" for bf16 if the hardware computes in it.

    Attributes:
        generator_ema: Generator with averaged weights, which makes all sounds and pictures.
    """

    averaged = ("generator_ema",)

    def __init__(
        self,
        transform: SpectrogramTransform,
        label_names: list[str],
        batch_size: int,
        total_kimg: float,
        log_every_kimg: float,
        generator: nn.Module,
        discriminator: nn.Module,
        augment: nn.Module | None,
        betas: tuple[float, float],
        ema_half_life_kimg: float,
        ema_ramp_up: float | None,
        precision: Precision,
    ) -> None:
        super().__init__(transform, label_names, batch_size, total_kimg, log_every_kimg)
        self.automatic_optimization = False
        self.generator: Any = channels_last(generator)
        self.discriminator: Any = channels_last(discriminator)
        self.generator_ema: Any = deepcopy(self.generator).eval().requires_grad_(False)
        self.augment = augment or nn.Identity()
        self.betas, self.precision = betas, precision
        self.ema_half_life_kimg, self.ema_ramp_up = ema_half_life_kimg, ema_ramp_up

    def on_train_start(self) -> None:
        """Apply the config's learning rates and betas, which a resumed optimiser would override with its own."""
        optimizers: Any = self.optimizers()
        configured: Any = self.configure_optimizers()
        for optimizer, fresh in zip(optimizers, configured, strict=True):
            for group, wanted in zip(optimizer.param_groups, fresh.param_groups, strict=True):
                group.update(lr=wanted["lr"], betas=wanted["betas"])

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of all networks except the averaged generator, which stays in evaluation mode."""
        super().train(mode)
        self.generator_ema.eval()
        return self

    def average_generator(self, num_clips: int) -> None:
        """Update the averaged generator after a step.

        Args:
            num_clips: Clips shown since the last update, over all processes.
        """
        decay = 0.0
        if self.ema_half_life_kimg:
            decay = average_decay(num_clips, self.clips_seen, self.ema_half_life_kimg, self.ema_ramp_up)
        update_average(self.generator_ema, self.generator, decay)

    def adam(self, learning_rate: float, *networks: nn.Module, lazy_interval: int = 0) -> Optimizer:
        """Return Adam for some networks.

        Args:
            learning_rate: Learning rate.
            networks: Networks to update.
            lazy_interval: Steps between lazy penalties, each of which takes an extra optimiser step. The learning rate
                and betas are corrected for it (Karras et al., 2020, appendix B). 0 for no penalty.
        """
        ratio = lazy_interval / (lazy_interval + 1) if lazy_interval else 1.0
        betas = (self.betas[0] ** ratio, self.betas[1] ** ratio)
        weights = [weight for network in networks for weight in network.parameters()]
        return Adam(weights, learning_rate * ratio, betas, fused=True)

    def autocast(self) -> AbstractContextManager:
        """Return the autocast context of the model's precision."""
        return autocast(self.precision, self.device)
