"""MelGAN-VC (Pasini, 2019; Lin, 2021): unpaired conversion between domains of sound, such as voices or instruments.

A clip is cut into segments that are translated one by one; the discriminator sees them joined, so that seams show. A
siamese network describes segments by vectors, and translation has to keep the differences between them.

Beyond the paper: any of several domains can be the target, which the generator is then told; sources are all others.
Pairs of segments that the siamese network compares may come from different clips, as in TraVeLGAN; clips may be
converted back, as in CycleGAN; the generator's weights are averaged. Batch normalisation sees segments to convert and
to reproduce together, as its running statistics do. A batch of converted clips, evaluated once, teaches both sides, as
in `StyleGAN2`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen import rng
from audiogen.data.batch import Batch
from audiogen.distributed import num_processes
from audiogen.losses.adversarial import hinge_fake, hinge_real
from audiogen.losses.siamese import siamese_margin, travel_angle, travel_distance
from audiogen.models.gan import GAN
from audiogen.models.precision import Precision, channels_last
from audiogen.models.schedules import falling
from audiogen.models.targets import choose_targets
from audiogen.scalars import COLLAPSE, LOSSES, Scalar
from audiogen.transforms.segments import join_segments, overlap_add_segments, overlapping_segments, split_segments
from audiogen.transforms.transform import SpectrogramTransform

Shape = tuple[int, int, int]
NUM_SEGMENTS = 3  # of a clip
CONVERT_BATCH = 64  # segments


class Roles(NamedTuple):
    """What the clips of a batch are there for.

    Attributes:
        source: float32 [N, C, F, L], to be converted.
        origin: int64 [N], their domains.
        aim: int64 [N], their targets.
        real: float32 [M, C, F, L], of target domains: to be shown to the discriminator as real, and to be reproduced.
        own: int64 [M], their domains.
    """

    source: Tensor
    origin: Tensor
    aim: Tensor
    real: Tensor
    own: Tensor


class MelGANVC(GAN):
    """Train a generator of sounds, a siamese network and a discriminator; keep an average of the generator.

    Args:
        transform: The spectrogram definition (linked to the data's); a clip is three segments long.
        label_names: The domains in index order, at least two (linked to the data's).
        batch_size: Clips per step over all processes, of all domains together (linked to the data's).
        generator: Makes the generator from (C, F, L) of a segment and the number of targets to choose from (0 for one):
            `forward(spec, target) -> spec`.
        siamese: Makes the siamese network from (C, F, L) of a segment: `forward(spec) -> vectors` [B, D].
        discriminator: Makes the discriminator from (C, F, L) of a clip and the number of targets:
            `forward(spec, target) -> logits` [B].
        targets: Domains to convert to, or "all"; the last one by default. Sources are all other domains.
        augment: Applied to all clips before anything else.
        discriminator_augment: Applied to real and converted clips alike before the discriminator sees them.
        total_kimg: Length of the training in thousands of clips shown, of all domains together.
        learning_rate: Of the generator and the siamese network.
        discriminator_learning_rate: Of the discriminator.
        decay_from: Share of the training after which both fall to nothing in a line, as in CycleGAN; 1 keeps them.
        beta1: Of Adam.
        beta2: Of Adam.
        generator_interval: The generator and the siamese network learn at every such step, the discriminator at all.
        identity_weight: Alpha of Lin (2021): clips of a target should stay as they are.
        identity_norm: "l2" is the mean squared difference (Lin, 2021), "l1" the mean absolute one (the code).
        travel_weight: Beta: transformation vectors should be kept.
        margin_weight: Gamma: they should not be short.
        margin: How long they should be.
        cycle_weight: Converted clips, converted back, should be what they were (mean absolute difference; CycleGAN). It
            needs sources that are targets too; 0 switches it off.
        pairs: Pieces that are compared: the first and the last of a "clip" (paper), or all of the "batch".
        ema_half_life_kimg: Of the averaged generator; 0 keeps no average.
        ema_ramp_up: The half-life is at most this share of the clips shown; null for no ramp.
        precision: "bf16" runs the convolutions in it, "auto" where the machine is fast in it.
        log_every_kimg: How often means of losses and logits are logged.

    Raises:
        ValueError: For data with fewer than two domains, unknown targets, batches too small to hold every domain, clips
            that cannot be cut into segments, and values out of range.
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
        targets_found = choose_targets(label_names, targets)
        if batch_size < len(label_names):
            raise ValueError(f"a batch of {batch_size} cannot hold a clip of each of {len(label_names)} domains")
        channels, bands, frames = transform.shape
        if frames % NUM_SEGMENTS:
            raise ValueError(f"num_frames must be a multiple of {NUM_SEGMENTS}, the segments of a clip, got {frames}")
        if cycle_weight and len(targets_found) < len(label_names):
            raise ValueError("cycle_weight converts clips back to their own domains: set targets to all")
        weights = (identity_weight, travel_weight, margin_weight, cycle_weight, ema_half_life_kimg)
        if min(weights) < 0 or generator_interval < 1 or not 0 <= decay_from <= 1:
            raise ValueError(
                "need weights and half-life >= 0, generator_interval >= 1 and decay_from in [0, 1], got "
                f"{', '.join(map(str, weights))}, {generator_interval} and {decay_from}"
            )
        segment = (channels, bands, frames // NUM_SEGMENTS)
        num_targets = len(label_names) if len(targets_found) > 1 else 0  # a single target need not be named
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
        self.targets, self.segment = targets_found, segment
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
        """Say what is trained.

        Raises:
            ValueError: Where a process may lack a domain that others have: they would wait for each other.
        """
        if num_processes() > 1 and not self.trainer.datamodule.domains:  # type: ignore[attr-defined]
            raise ValueError("each of several processes needs clips of each domain: set --data.domains true")
        super().on_fit_start()

    def metric_names(self) -> set[str]:
        """Return the names of all metrics that are logged; see `KimgModule`."""
        kept = {name for name in self.weights if name != "cycle"}
        names = {f"loss/{name}" for name in (*kept, "adversarial", "discriminator")} | {"logits/real", "logits/fake"}
        names |= {f"val/{name}" for name in (*kept, "logits_real", "logits_fake")} | {"speed/clips_per_second"}
        names |= {"gradient_norm/generator", "gradient_norm/discriminator"}
        return names | ({"loss/cycle"} if self.weights["cycle"] else set())

    def configure_optimizers(self) -> list[Optimizer]:
        """Return Adam for the generator with the siamese network, and for the discriminator."""
        generator_rate, discriminator_rate = self.learning_rates
        return [
            self.adam(generator_rate, self.generator, self.siamese),
            self.adam(discriminator_rate, self.discriminator),
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train the discriminator, and when it is its turn the generator with the siamese network."""
        optimizer, discriminator_optimizer = self._scheduled_optimizers()
        roles = self.roles(batch._replace(spec=self.augment(batch.spec)))
        turn = (self.clips_seen // self.batch_size) % self.generator_interval == 0
        self.backward_losses(roles, train_generator=turn)
        if turn:
            self.update(optimizer, "generator", self.generator, self.siamese)
            self.average_generator(self.batch_size * self.generator_interval)
        self.update(discriminator_optimizer, "discriminator", self.discriminator)
        self.count_clips()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the losses of clips that were not trained on, by the averaged generator."""
        self._log_losses("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the same of test clips."""
        self._log_losses("test", batch)

    def roles(self, batch: Batch) -> Roles:
        """Draw a target for each clip that can be converted, and list those of target domains.

        Raises:
            ValueError: Where there are none of either kind.
        """
        if not self._has_roles(batch.label):
            raise ValueError(
                f"a batch of {len(batch.label)} clips has none to convert or none of a target: draw domains evenly "
                "(--data.domains true), and let each process have at least one clip of each"
            )
        allowed = self.allowed[batch.label]  # [B, num_domains]
        source, real = allowed.any(dim=1), self.allowed.any(dim=0)[batch.label]
        reach = rng.rand((len(allowed), 1), allowed.device) * allowed.sum(dim=1, keepdim=True)
        aim = (allowed.cumsum(dim=1) <= reach).sum(dim=1)
        return Roles(batch.spec[source], batch.label[source], aim[source], batch.spec[real], batch.label[real])

    def backward_losses(self, roles: Roles, train_generator: bool) -> None:
        """Compute the gradients of the discriminator and, where asked for, of the other two networks."""
        with torch.set_grad_enabled(train_generator), self.autocast():
            converted, reproduced = self.translate(self.generator, roles)
        fake_input = converted.detach().requires_grad_(train_generator)
        with self.autocast():
            fake_logits = self._logits(fake_input, roles.aim)
            real_logits = self._logits(roles.real, roles.own)
        if train_generator:
            # Through the discriminator for the generator: gradients of the clips, none of the weights.
            adversarial = -fake_logits.mean()
            self.manual_backward(adversarial, inputs=[fake_input], retain_graph=True)
            assert fake_input.grad is not None
            losses = self.keeping_losses(roles, converted, reproduced)
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
        """Return converted sources, float32 [N, C, F, L], and reproduced clips of the targets, [M, C, F, L]."""
        segments = split_segments(torch.cat([roles.source, roles.real]), NUM_SEGMENTS)
        target = self.named(torch.cat([roles.aim, roles.own]).repeat_interleave(NUM_SEGMENTS))
        joined = join_segments(generator(segments, target).float(), NUM_SEGMENTS)
        return joined.tensor_split([len(roles.source)])  # type: ignore[return-value]

    def keeping_losses(self, roles: Roles, converted: Tensor, reproduced: Tensor) -> dict[str, Tensor]:
        """Return what keeps the content, by name: identity, TraVeL, and the margin that gives it something to keep."""
        norm = F.mse_loss if self.identity_norm == "l2" else F.l1_loss
        before, after = self.transformation_vectors(roles.source, converted)
        return {
            "identity": norm(reproduced, roles.real),
            "travel_distance": travel_distance(before, after),
            "travel_angle": travel_angle(before, after),
            "margin": siamese_margin(before, self.margin),
        }

    def cycle_loss(self, roles: Roles, converted: Tensor) -> Tensor:
        """Return how much sources differ from what their conversions, float32 [N, C, F, L], are converted back to."""
        target = self.named(roles.origin.repeat_interleave(NUM_SEGMENTS))
        with self.autocast():
            segments = self.generator(split_segments(converted, NUM_SEGMENTS), target)
        return F.l1_loss(join_segments(segments.float(), NUM_SEGMENTS), roles.source)

    def transformation_vectors(self, source: Tensor, converted: Tensor) -> tuple[Tensor, Tensor]:
        """Return differences of the siamese network's vectors of segments, float32 [P, D], before and after conversion.

        Args:
            source: float32 [N, C, F, L].
            converted: The same clips converted.
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
        # Pieces of silence are all the same: between them there is nothing to keep, and no direction.
        _, kind = torch.unique(segments[0].flatten(1), dim=0, return_inverse=True)
        differ = kind[one] != kind[other]
        if differ.any():
            one, other = one[differ], other[differ]
        return before[one] - before[other], after[one] - after[other]

    @torch.no_grad()
    def convert(self, spec: Tensor, target: Tensor, overlap: float = 0.5) -> Tensor:
        """Convert sounds of any length with the averaged generator, segment by segment.

        Pieces lie on a grid that begins at the first frame and overlap; where they do, they are crossfaded.

        Args:
            spec: float [B, C, F, L] in [-1, 1], of any domain.
            target: int64 [B], indices of target domains.
            overlap: Share of a segment that the next one covers too, in [0, 1); 0 joins segments without a crossfade.

        Returns:
            spec, float32 [B, C, F, L] on the model's device.

        Raises:
            ValueError: For a domain that is no target, and overlaps out of range.
        """
        if unknown := set(target.tolist()) - set(self.targets):
            names = ", ".join(self.label_names[index] for index in self.targets)
            raise ValueError(f"domain {unknown.pop()} is no target: this model converts to {names}")
        step = self.grid(overlap)
        silence = self.transform(torch.zeros(1, self.segment[0], self.transform.hop_length, device=self.device))
        segments = overlapping_segments(spec.to(self.device, torch.float32), self.segment[2], step, silence)
        aims = target.to(self.device).repeat_interleave(segments.shape[1])
        with self.autocast():
            translated = [
                self.generator_ema(part, self.named(aim)).float()
                for part, aim in zip(
                    segments.flatten(0, 1).split(CONVERT_BATCH), aims.split(CONVERT_BATCH), strict=True
                )
            ]
        return overlap_add_segments(torch.cat(translated).unflatten(0, segments.shape[:2]), step, spec.shape[3])

    def grid(self, overlap: float) -> int:
        """Return frames from the start of one segment to that of the next.

        Raises:
            ValueError: For an overlap out of range.
        """
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must be in [0, 1), got {overlap}")
        return max(round(self.segment[2] * (1 - overlap)), 1)

    def named(self, target: Tensor) -> Tensor | None:
        """Return what the networks are told of targets int64 [B]: nothing where there is one."""
        return target if len(self.targets) > 1 else None

    def _has_roles(self, label: Tensor) -> bool:
        """Tell whether there are both clips to convert and clips of a target among some of domains int64 [B]."""
        return bool(self.allowed[label].any() and self.allowed.any(dim=0)[label].any())

    def _log_losses(self, split: str, batch: Batch) -> None:
        if not self._has_roles(batch.label):
            return  # a last batch that lacks a domain
        roles = self.roles(batch)
        with self.autocast():
            converted, reproduced = self.translate(self.generator_ema, roles)
            fake, real = self._logits(converted, roles.aim), self._logits(roles.real, roles.own)
        scores = self.keeping_losses(roles, converted, reproduced)
        scores |= {"logits_real": real.mean(), "logits_fake": fake.mean()}
        for name, value in scores.items():
            self.log_held_out(f"{split}/{name}", value)

    def _logits(self, spec: Tensor, target: Tensor) -> Tensor:
        """Return logits, float32 [B]."""
        return self.discriminator(self.discriminator_augment(spec), self.named(target)).float()

    def _scheduled_optimizers(self) -> list[Any]:
        """Return the optimisers with the learning rates of this step."""
        optimizers: Any = self.optimizers()
        factor = falling(self.kimg / self.total_kimg, self.decay_from)
        for optimizer, rate in zip(optimizers, self.learning_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        return optimizers
