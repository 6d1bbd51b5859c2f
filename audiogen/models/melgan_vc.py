"""Convert unpaired sounds between domains, such as voices or instruments, with MelGAN-VC (Pasini, 2019; Lin, 2021).

A clip is cut into segments, and the generator converts them one by one. The discriminator sees them joined, so that
visible seams are penalised. A siamese network maps segments to vectors, and conversion has to preserve the differences
between these vectors.

Extensions and deviations:

- Several domains can be targets. The generator then receives the target, and the sources are all other domains.
- The siamese network may compare segments of different clips, as in TraVeLGAN.
- Clips may be converted back, as in CycleGAN.
- The generator's weights are averaged.
- Batch normalisation sees segments to convert and segments to reproduce together, as do its running statistics.
- A batch of converted clips is evaluated once, and both sides learn from it, as in `StyleGAN2`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen.data.batch import Batch
from audiogen.distributed import num_processes
from audiogen.losses.adversarial import hinge_fake, hinge_real
from audiogen.losses.siamese import siamese_margin, travel_angle, travel_distance
from audiogen.models.gan import GAN
from audiogen.models.precision import Precision, channels_last
from audiogen.models.schedules import falling
from audiogen.models.targets import Roles, choose_targets, draw_roles, has_roles
from audiogen.scalars import COLLAPSE, LOSSES, Scalar
from audiogen.transforms.segments import join_segments, overlap_add_segments, overlapping_segments, split_segments
from audiogen.transforms.transform import SpectrogramTransform

Shape = tuple[int, int, int]
NUM_SEGMENTS = 3  # per clip
CONVERT_BATCH = 64  # segments


class MelGANVC(GAN):
    """Train a generator, a siamese network and a discriminator, and average the generator's weights.

    Args:
        transform: The spectrogram definition (linked to the data's). A clip is three segments long.
        label_names: Domain names in index order, at least two (linked to the data's).
        batch_size: Clips per step over all processes, of all domains together (linked to the data's).
        generator: Creates the generator from (C, F, L) of a segment and the number of targets to choose from (0 for a
            single target): `forward(spec, target) -> spec`.
        siamese: Creates the siamese network from (C, F, L) of a segment: `forward(spec) -> vectors` [B, D].
        discriminator: Creates the discriminator from (C, F, L) of a clip and the number of targets: `forward(spec,
            target) -> logits` [B].
        targets: Domains to convert to, or "all"; null for the last domain. All other domains are sources.
        augment: Augmentation of all clips before anything else; null for none.
        discriminator_augment: Augmentation of real and converted clips for the discriminator only; null for none.
        total_kimg: Length of training in thousands of clips shown, of all domains together.
        learning_rate: Learning rate of the generator and the siamese network.
        discriminator_learning_rate: Learning rate of the discriminator.
        decay_from: Fraction of training after which both learning rates fall linearly to 0, as in CycleGAN; 1 for
            constant learning rates.
        beta1: Adam's first-moment decay.
        beta2: Adam's second-moment decay.
        generator_interval: Steps between updates of the generator and the siamese network. The discriminator is updated
            at every step.
        identity_weight: Weight of the identity loss, which keeps clips of target domains unchanged (alpha in Lin,
            2021).
        identity_norm: Identity loss: "l2" for the mean squared difference (Lin, 2021) or "l1" for the mean absolute
            difference (the published code).
        travel_weight: Weight of the TraVeL losses, which preserve the differences between segments' vectors (beta in
            Lin, 2021).
        margin_weight: Weight of the margin loss, which keeps these differences from becoming too short (gamma in Lin,
            2021).
        margin: Minimum length of the differences.
        cycle_weight: Weight of the cycle loss, the mean absolute difference between clips and their conversions
            converted back (CycleGAN). It requires all domains to be targets. 0 disables it.
        pairs: Segments that the siamese network compares: the first and last segment of each "clip" (Lin, 2021), or all
            segments of the "batch" (TraVeLGAN).
        ema_half_life_kimg: Half-life of the averaged generator weights, in thousands of clips; 0 for no averaging.
        ema_ramp_up: Upper limit of the half-life as a fraction of the clips shown so far; null for no limit.
        precision: Arithmetic of the convolutions: "bf16", "fp32", or "auto" for bf16 if the hardware computes in it.
        log_every_kimg: Interval of the logged mean losses and logits, in thousands of clips.

    Raises:
        ValueError: If there are fewer than two domains, a target is unknown, the batch is too small to contain every
            domain, clips cannot be cut into segments, or another value is out of range.
    """

    scalars = (
        *(Scalar(f"logits/{clips}", COLLAPSE, plot="logits") for clips in ("real", "fake")),
        *(Scalar(f"val/logits_{clips}", COLLAPSE, plot="logits") for clips in ("real", "fake")),
        *GAN.scalars,
        *(
            Scalar(f"val/{loss}", LOSSES, plot="val")
            for loss in ("identity", "travel_distance", "travel_angle", "margin")
        ),
    )

    def __init__(
        self,
        transform: SpectrogramTransform,
        label_names: list[str],
        batch_size: int,
        generator: Callable[[Shape, int], nn.Module],
        siamese: Callable[[Shape], nn.Module],
        discriminator: Callable[[Shape, int], nn.Module],
        targets: list[str] | Literal["all"] | None = None,
        augment: nn.Module | None = None,
        discriminator_augment: nn.Module | None = None,
        total_kimg: float = 1000.0,
        learning_rate: float = 0.0001,
        discriminator_learning_rate: float = 0.0004,
        decay_from: float = 1.0,
        beta1: float = 0.5,
        beta2: float = 0.999,
        generator_interval: int = 1,
        identity_weight: float = 1.0,
        identity_norm: Literal["l1", "l2"] = "l2",
        travel_weight: float = 10.0,
        margin_weight: float = 10.0,
        margin: float = 2.0,
        cycle_weight: float = 0.0,
        pairs: Literal["clip", "batch"] = "clip",
        ema_half_life_kimg: float = 0.0,
        ema_ramp_up: float | None = 0.05,
        precision: Precision = "auto",
        log_every_kimg: float = 0.5,
    ) -> None:
        chosen = choose_targets(label_names, targets)
        _check_sizes(transform.shape[2], batch_size, num_domains=len(label_names))
        if cycle_weight and len(chosen) < len(label_names):
            raise ValueError("cycle_weight converts clips back to their own domains: set targets to all")
        weights = (identity_weight, travel_weight, margin_weight, cycle_weight, ema_half_life_kimg)
        _check_values(weights, generator_interval, decay_from)
        channels, bands, frames = transform.shape
        segment = (channels, bands, frames // NUM_SEGMENTS)
        num_targets = len(label_names) if len(chosen) > 1 else 0  # a single target needs no input
        networks = generator(segment, num_targets), siamese(segment), discriminator(transform.shape, num_targets)
        super().__init__(
            *(transform, label_names, batch_size, total_kimg, log_every_kimg),
            networks[0],
            networks[2],
            augment,
            (beta1, beta2),
            ema_half_life_kimg,
            ema_ramp_up,
            precision,
        )
        self.save_hyperparameters()
        self.siamese: Any = channels_last(networks[1])
        self.targets, self.segment = chosen, segment
        self.discriminator_augment = discriminator_augment or nn.Identity()
        allowed = torch.zeros(len(label_names), len(label_names))  # [source, target]
        allowed[:, self.targets] = 1
        self.register_buffer("allowed", allowed.fill_diagonal_(0), persistent=False)
        self.allowed: Tensor
        self.learning_rates = (learning_rate, discriminator_learning_rate)
        self.decay_from, self.generator_interval = decay_from, generator_interval
        self.identity_norm, self.margin, self.pairs = identity_norm, margin, pairs
        self.weights = {"identity": identity_weight, "travel_distance": travel_weight, "travel_angle": travel_weight}
        self.weights |= {"margin": margin_weight, "cycle": cycle_weight}

    def on_fit_start(self) -> None:
        """Log what will be trained.

        Raises:
            ValueError: If a process may lack a domain that others have, which would leave them waiting for each other.
        """
        if num_processes() > 1 and not self.trainer.datamodule.domains:  # type: ignore[attr-defined]
            raise ValueError("with several processes, each one needs clips of every domain: set --data.domains true")
        super().on_fit_start()

    def metric_names(self) -> set[str]:
        """Return the names of all logged metrics; see `KimgModule`."""
        kept = {name for name in self.weights if name != "cycle"}
        names = {f"loss/{name}" for name in (*kept, "adversarial", "discriminator")} | {"logits/real", "logits/fake"}
        names |= {f"val/{name}" for name in (*kept, "logits_real", "logits_fake")} | {"speed/clips_per_second"}
        names |= {"gradient_norm/generator", "gradient_norm/discriminator"}
        return names | ({"loss/cycle"} if self.weights["cycle"] else set())

    def configure_optimizers(self) -> list[Optimizer]:
        """Return Adam for the generator and the siamese network together, and Adam for the discriminator."""
        generator_rate, discriminator_rate = self.learning_rates
        return [
            self.adam(generator_rate, self.generator, self.siamese),
            self.adam(discriminator_rate, self.discriminator),
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train the discriminator and, every `generator_interval` steps, the generator and the siamese network."""
        optimizer, discriminator_optimizer = self._scheduled_optimizers()
        roles = self.roles(batch._replace(spec=self.augment(batch.spec)))
        train_generator = (self.clips_seen // self.batch_size) % self.generator_interval == 0
        self.backward_losses(roles, train_generator)
        if train_generator:
            self.update(optimizer, "generator", self.generator, self.siamese)
            self.average_generator(self.batch_size * self.generator_interval)
        self.update(discriminator_optimizer, "discriminator", self.discriminator)
        self.count_clips()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the averaged generator's losses on validation clips."""
        self._log_losses("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the averaged generator's losses on test clips."""
        self._log_losses("test", batch)

    def roles(self, batch: Batch) -> Roles:
        """Divide a batch into clips to convert and clips of target domains; see `draw_roles`."""
        return draw_roles(batch, self.allowed)

    def backward_losses(self, roles: Roles, train_generator: bool) -> None:
        """Compute the discriminator's gradients and, if `train_generator`, those of the other two networks."""
        with torch.set_grad_enabled(train_generator), self.autocast():
            converted, reproduced = self.translate(self.generator, roles)
        fake_input = converted.detach().requires_grad_(train_generator)
        with self.autocast():
            fake_logits = self._logits(fake_input, roles.target)
            real_logits = self._logits(roles.real, roles.real_domain)
        if train_generator:
            # Backpropagate through the discriminator to the converted clips only, without gradients of its weights.
            adversarial = -fake_logits.mean()
            self.manual_backward(adversarial, inputs=[fake_input], retain_graph=True)
            assert fake_input.grad is not None
            losses = self.content_losses(roles, converted, reproduced)
            if self.weights["cycle"]:
                losses["cycle"] = self.cycle_loss(roles, converted)
            weighted = [self.weights[name] * loss for name, loss in losses.items()]
            total = (converted * fake_input.grad).sum() + torch.stack(weighted).sum()
            self.manual_backward(total, inputs=[*self.generator.parameters(), *self.siamese.parameters()])
            for name, loss in {"adversarial": adversarial, **losses}.items():
                self.record(f"loss/{name}", loss)
        loss = (hinge_real(real_logits) + hinge_fake(fake_logits)) / 2
        self.manual_backward(loss, inputs=list(self.discriminator.parameters()))
        self.record("loss/discriminator", loss)
        self.record("logits/real", real_logits.mean())
        self.record("logits/fake", fake_logits.mean())

    def translate(self, generator: Any, roles: Roles) -> tuple[Tensor, Tensor]:
        """Convert the sources and reproduce the real clips.

        Args:
            generator: Generator to use.
            roles: Roles of the clips in the batch.

        Returns:
            Converted sources, float32 [N, C, F, L], and reproduced real clips, float32 [M, C, F, L].
        """
        segments = split_segments(torch.cat([roles.source, roles.real]), NUM_SEGMENTS)
        target = self.target_input(torch.cat([roles.target, roles.real_domain]).repeat_interleave(NUM_SEGMENTS))
        joined = join_segments(generator(segments, target).float(), NUM_SEGMENTS)
        return joined.tensor_split([len(roles.source)])  # type: ignore[return-value]

    def content_losses(self, roles: Roles, converted: Tensor, reproduced: Tensor) -> dict[str, Tensor]:
        """Return the losses that preserve the content, by name: identity, TraVeL and margin (Lin, 2021).

        Args:
            roles: Roles of the clips in the batch.
            converted: Converted sources, float32 [N, C, F, L].
            reproduced: Reproduced real clips, float32 [M, C, F, L].
        """
        norm = F.mse_loss if self.identity_norm == "l2" else F.l1_loss
        before, after = self.transformation_vectors(roles.source, converted)
        return {
            "identity": norm(reproduced, roles.real),
            "travel_distance": travel_distance(before, after),
            "travel_angle": travel_angle(before, after),
            "margin": siamese_margin(before, self.margin),
        }

    def cycle_loss(self, roles: Roles, converted: Tensor) -> Tensor:
        """Return the mean absolute difference between sources and `converted`, float32 [N, C, F, L], converted back."""
        target = self.target_input(roles.source_domain.repeat_interleave(NUM_SEGMENTS))
        with self.autocast():
            segments = self.generator(split_segments(converted, NUM_SEGMENTS), target)
        return F.l1_loss(join_segments(segments.float(), NUM_SEGMENTS), roles.source)

    def transformation_vectors(self, source: Tensor, converted: Tensor) -> tuple[Tensor, Tensor]:
        """Return differences between siamese vectors of segments, before and after conversion.

        Args:
            source: float32 [N, C, F, L].
            converted: The same clips converted.

        Returns:
            Two tensors, float32 [P, D], with the same pairs of segments.
        """
        segments = [split_segments(spec, NUM_SEGMENTS) for spec in (source, converted)]
        if self.pairs == "clip":
            segments = [
                spec.unflatten(0, (-1, NUM_SEGMENTS))[:, [0, NUM_SEGMENTS - 1]].flatten(0, 1) for spec in segments
            ]
        with self.autocast():
            vectors = self.siamese(torch.cat(segments)).float()
        before, after = vectors.chunk(2)
        if self.pairs == "clip":
            first, last = slice(0, None, 2), slice(1, None, 2)
            return before[first] - before[last], after[first] - after[last]
        one, other = torch.triu_indices(len(before), len(before), 1, device=before.device)
        # Identical segments, such as silence, differ by zero, which has no direction: there is nothing to preserve.
        _, segment_id = torch.unique(segments[0].flatten(1), dim=0, return_inverse=True)
        distinct = segment_id[one] != segment_id[other]
        if distinct.any():
            one, other = one[distinct], other[distinct]
        return before[one] - before[other], after[one] - after[other]

    @torch.no_grad()
    def convert(self, spec: Tensor, target: Tensor, overlap: float = 0.5) -> Tensor:
        """Convert sounds of any length with the averaged generator, segment by segment.

        Segments start at the first frame and overlap by a fixed amount; they are merged by overlap-add.

        Args:
            spec: float [B, C, F, L] in [-1, 1], of any domain.
            target: Indices of target domains, int64 [B].
            overlap: Fraction of a segment that the next one covers too, in [0, 1). 0 joins segments without a
                crossfade.

        Returns:
            spec, float32 [B, C, F, L] on the model's device.

        Raises:
            ValueError: If a domain is not a target or the overlap is out of range.
        """
        if unknown := set(target.tolist()) - set(self.targets):
            names = ", ".join(self.label_names[index] for index in self.targets)
            raise ValueError(f"domain {unknown.pop()} is not a target: this model converts to {names}")
        hop = self.hop_frames(overlap)
        silence = self.transform(torch.zeros(1, self.segment[0], self.transform.hop_length, device=self.device))
        segments = overlapping_segments(spec.to(self.device, torch.float32), self.segment[2], hop, silence)
        targets = target.to(self.device).repeat_interleave(segments.shape[1])
        with self.autocast():
            translated = [
                self.generator_ema(part, self.target_input(target_of_part)).float()
                for part, target_of_part in zip(
                    segments.flatten(0, 1).split(CONVERT_BATCH), targets.split(CONVERT_BATCH), strict=True
                )
            ]
        return overlap_add_segments(torch.cat(translated).unflatten(0, segments.shape[:2]), hop, spec.shape[3])

    def hop_frames(self, overlap: float) -> int:
        """Return the hop between segments in frames.

        Raises:
            ValueError: If the overlap is not in [0, 1).
        """
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must be in [0, 1), got {overlap}")
        return max(round(self.segment[2] * (1 - overlap)), 1)

    def target_input(self, target: Tensor) -> Tensor | None:
        """Return the target input of the networks, int64 [B], or None if there is only one target."""
        return target if len(self.targets) > 1 else None

    def _log_losses(self, split: str, batch: Batch) -> None:
        if not has_roles(batch.label, self.allowed):
            return  # the last batch may lack a domain
        roles = self.roles(batch)
        with self.autocast():
            converted, reproduced = self.translate(self.generator_ema, roles)
            fake, real = self._logits(converted, roles.target), self._logits(roles.real, roles.real_domain)
        scores = self.content_losses(roles, converted, reproduced)
        scores |= {"logits_real": real.mean(), "logits_fake": fake.mean()}
        for name, value in scores.items():
            self.log_held_out(f"{split}/{name}", value)

    def _logits(self, spec: Tensor, target: Tensor) -> Tensor:
        """Return the discriminator's logits of augmented clips, float32 [B]."""
        return self.discriminator(self.discriminator_augment(spec), self.target_input(target)).float()

    def _scheduled_optimizers(self) -> list[Any]:
        """Set the learning rates of this step and return the optimisers."""
        optimizers: Any = self.optimizers()
        factor = falling(self.kimg / self.total_kimg, self.decay_from)
        for optimizer, rate in zip(optimizers, self.learning_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        return optimizers


def _check_sizes(num_frames: int, batch_size: int, num_domains: int) -> None:
    """Check that a clip can be cut into segments and that a batch can contain every domain."""
    if batch_size < num_domains:
        raise ValueError(f"a batch of {batch_size} cannot contain a clip of each of {num_domains} domains")
    if num_frames % NUM_SEGMENTS:
        raise ValueError(f"num_frames must be a multiple of {NUM_SEGMENTS}, the segments of a clip, got {num_frames}")


def _check_values(weights: Sequence[float], generator_interval: int, decay_from: float) -> None:
    """Check the ranges of weights, half-life, interval and learning rate decay."""
    if min(weights) < 0 or generator_interval < 1 or not 0 <= decay_from <= 1:
        raise ValueError(
            "expected weights and half-life >= 0, generator_interval >= 1 and decay_from in [0, 1], got "
            f"{', '.join(map(str, weights))}, {generator_interval} and {decay_from}"
        )
