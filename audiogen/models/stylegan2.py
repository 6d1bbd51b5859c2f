"""Generate spectrograms with StyleGAN2 (Karras et al., 2020), conditional if the data have classes.

Deviations from the reference implementation:

- A step generates one batch and evaluates it once, and both networks learn from that evaluation. The reference
  generates and evaluates a second batch for the discriminator. This saves a quarter of the generator's and an eighth of
  the discriminator's arithmetic; both networks then update simultaneously from the same state.
- Generated clips have the classes of the real clips in the batch.
- Low precision is bf16, whose range makes clamping of activations unnecessary.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen import rng
from audiogen.data.batch import Batch
from audiogen.distributed import all_reduce_mean
from audiogen.losses.adversarial import logistic_fake, logistic_real
from audiogen.losses.regularizers import mode_seeking, path_length_penalty, path_lengths, r1_penalty
from audiogen.models.gan import GAN
from audiogen.models.precision import Precision
from audiogen.networks.stylegan2.discriminator import GROUP_SIZE, minibatch_stddev
from audiogen.scalars import COLLAPSE, Scalar
from audiogen.transforms.transform import SpectrogramTransform

Shape = tuple[int, int, int]
SAMPLE_BATCH = 16
NUM_RECENT = 4  # batches
MODE_SEEKING_STRIDE = 4  # one pair per four clips of the batch
MODE_SEEKING_INTERVAL = 4  # steps; a pair takes two generated clips, so every step would take a sixth longer


class StyleGAN2(GAN):
    """Train a generator and a discriminator against each other, and average the generator's weights.

    Args:
        transform: The spectrogram definition (linked to the data's).
        label_names: Class names in index order; empty without classes (linked to the data's).
        batch_size: Clips per step over all processes, at least 2 (linked to the data's).
        generator: Creates the generator from (C, F, L) and the number of classes: an nn.Module with an attribute
            `z_dim`, `mapping(z, label, truncation) -> ws` [B, num_ws, w_dim] and `synthesis(ws, noise_mode) -> spec`.
        discriminator: Creates the discriminator from (C, F, L) and the number of classes: `forward(spec, label) ->
            logits` [B].
        augment: Augmentation of real and generated clips for the discriminator; null for none.
        total_kimg: Length of training in thousands of clips shown.
        learning_rate: Learning rate of both networks.
        beta1: Adam's first-moment decay.
        beta2: Adam's second-moment decay.
        r1_gamma: Weight of the R1 gradient penalty; "auto" for 0.0002 * bands * frames / batch_size.
        r1_interval: Steps between R1 penalties; 0 disables them.
        path_length_weight: Weight of the path length penalty.
        path_length_interval: Steps between path length penalties; 0 disables them.
        path_length_decay: Update rate of the mean path length, in (0, 1].
        mode_seeking_weight: Weight of the mode seeking loss (Mao et al., 2019), which drives clips of one class apart
            and so counteracts mode collapse within a class. It is computed every fourth step with four times the
            weight, on separate pairs of clips that the discriminator never sees. 0 disables it.
        style_mixing: Probability that a batch takes the styles of its later layers from a second latent.
        ema_half_life_kimg: Half-life of the averaged generator weights, in thousands of clips; "auto" for batch_size *
            10 / 32.
        ema_ramp_up: Upper limit of the half-life as a fraction of the clips shown so far; null for no limit.
        precision: Arithmetic of the high resolutions: "bf16", "fp32", or "auto" for bf16 if the hardware computes in
            it. The penalties are always computed in float32.
        log_every_kimg: Interval of the logged mean losses and logits, in thousands of clips.

    Raises:
        ValueError: If the batch size, an interval, a weight or a probability is out of range.
    """

    scalars = (
        *(Scalar(f"logits/{clips}", COLLAPSE, plot="logits") for clips in ("real", "fake")),
        *(Scalar(f"val/logits_{clips}", COLLAPSE, plot="logits") for clips in ("real", "train", "fake")),
        Scalar("logits/real_positive", COLLAPSE),
        Scalar("minibatch_stddev/ratio", COLLAPSE),
        Scalar("path_length/mean", COLLAPSE),
        *GAN.scalars,
    )

    def __init__(
        self,
        transform: SpectrogramTransform,
        label_names: list[str],
        batch_size: int,
        generator: Callable[[Shape, int], nn.Module],
        discriminator: Callable[[Shape, int], nn.Module],
        augment: nn.Module | None = None,
        total_kimg: float = 1000.0,
        learning_rate: float = 0.0025,
        beta1: float = 0.0,
        beta2: float = 0.99,
        r1_gamma: float | Literal["auto"] = "auto",
        r1_interval: int = 16,
        path_length_weight: float = 2.0,
        path_length_interval: int = 4,
        path_length_decay: float = 0.01,
        mode_seeking_weight: float = 0.0,
        style_mixing: float = 0.9,
        ema_half_life_kimg: float | Literal["auto"] = "auto",
        ema_ramp_up: float | None = 0.05,
        precision: Precision = "auto",
        log_every_kimg: float = 0.5,
    ) -> None:
        _check(batch_size, style_mixing, r1_interval, path_length_interval, mode_seeking_weight)
        shape, num_classes = transform.shape, len(label_names)
        super().__init__(
            *(transform, label_names, batch_size, total_kimg, log_every_kimg),
            generator(shape, num_classes),
            discriminator(shape, num_classes),
            augment,
            (beta1, beta2),
            batch_size * 10 / 32 if ema_half_life_kimg == "auto" else ema_half_life_kimg,
            ema_ramp_up,
            precision,
        )
        self.save_hyperparameters()
        self.register_buffer("path_length_mean", torch.zeros([]))
        self.path_length_mean: Tensor
        self.learning_rate = learning_rate
        self.r1_gamma = 0.0002 * shape[1] * shape[2] / batch_size if r1_gamma == "auto" else r1_gamma
        self.r1_interval, self.path_length_interval = r1_interval, path_length_interval
        self.path_length_weight, self.path_length_decay = path_length_weight, path_length_decay
        self.mode_seeking_weight, self.style_mixing = mode_seeking_weight, style_mixing

    def metric_names(self) -> set[str]:
        """Return the names of all logged metrics; see `KimgModule`."""
        names = {"speed/clips_per_second", "path_length/mean", "minibatch_stddev/ratio", "logits/real_positive"}
        names |= {
            f"{kind}/{network}" for kind in ("loss", "gradient_norm") for network in ("generator", "discriminator")
        }
        names |= {"logits/real", "logits/fake", *(f"val/logits_{clips}" for clips in ("real", "train", "fake"))}
        if self.path_length_interval:
            names |= {"penalty/path_length", "gradient_norm/generator_path_length"}
        if self.r1_interval:
            names |= {"penalty/r1", "gradient_norm/discriminator_r1"}
        return names | ({"loss/mode_seeking"} if self.mode_seeking_weight else set())

    def configure_optimizers(self) -> list[Optimizer]:
        """Return Adam for the generator and the discriminator, corrected for lazy regularisation."""
        return [
            self.adam(self.learning_rate, self.generator, lazy_interval=self.path_length_interval),
            self.adam(self.learning_rate, self.discriminator, lazy_interval=self.r1_interval),
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train both networks on one batch of real clips and one of generated clips."""
        real, label = batch.spec, self.one_hot(batch.label)
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]
        step = self.clips_seen // self.batch_size
        self.adversarial_backward(real, label)
        if self.mode_seeking_weight and step % MODE_SEEKING_INTERVAL == 0:
            pairs = slice(None, None, MODE_SEEKING_STRIDE)
            self.mode_seeking_backward(len(real[pairs]), None if label is None else label[pairs])
        self.update(generator_optimizer, "generator", self.generator)
        self.update(discriminator_optimizer, "discriminator", self.discriminator)
        if self.path_length_interval and step % self.path_length_interval == 0:
            self.path_length_backward(max(len(real) // 2, 1), None if label is None else label[::2])
            self.update(generator_optimizer, "generator_path_length", self.generator)
        if self.r1_interval and step % self.r1_interval == 0:
            self.r1_backward(real, label)
            self.update(discriminator_optimizer, "discriminator_r1", self.discriminator)
        self.average_generator(self.batch_size)
        self.count_clips()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the mean logit of validation clips. Far below that of training clips, it indicates overfitting."""
        self.log_held_out("val/logits_real", self._mean_logit(batch))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the mean logit of test clips."""
        self.log_held_out("test/logits_real", self._mean_logit(batch))

    def on_validation_epoch_end(self) -> None:
        """Log signs of collapse: logits of recent training clips and of generated clips, and the path length.

        Logits fluctuate, so these are computed at the same time as those of validation clips, which normally lie
        between them.
        """
        if self.trainer.state.fn != "fit":
            return
        self.seed_rng()
        spec, labels = self.trainer.datamodule.recent(NUM_RECENT)  # type: ignore[attr-defined]
        recent = Batch(spec.to(self.device).type_as(self.path_length_mean), labels.to(self.device))
        label = self.one_hot(recent.label)
        fake = self.generator(self._latents(len(recent.spec)), label)
        self.log_held_out("val/logits_train", self._mean_logit(recent))
        self.log_held_out("val/logits_fake", self._mean_logit(recent._replace(spec=fake)))
        if not self.path_length_interval:
            num = min(self.batch_size, len(recent.spec))
            with torch.inference_mode(False), torch.enable_grad():
                ws = self.generator.mapping(self._latents(num), None if label is None else label[:num].clone())
                spec = self.generator.synthesis(ws)
                lengths = path_lengths(spec, ws, rng.randn(spec.shape, spec.device)).detach()
            self.log_held_out("path_length/mean", lengths.mean())

    def adversarial_backward(self, real: Tensor, label: Tensor | None) -> None:
        """Compute both networks' gradients of the logistic losses.

        Args:
            real: float32 [B, C, F, L].
            label: One-hot labels of the real clips, float32 [B, num_classes], or None. Generated clips have the same
                labels in the same order, so the groups of the minibatch standard deviation contain the same mix of
                classes in both.
        """
        discriminator_weights = list(self.discriminator.parameters())
        with self.autocast():
            fake = self.generator.synthesis(self._styles(self._latents(len(real)), label))
            fake_input = fake.detach().requires_grad_()
            fake_logits = self.discriminator(self.augment(fake_input), label)
            generator_loss, fake_loss = logistic_real(fake_logits), logistic_fake(fake_logits)
        # Backpropagate through the discriminator to the generated clips only, without gradients of its weights.
        self.manual_backward(generator_loss, inputs=[fake_input], retain_graph=True)
        self.manual_backward(fake, gradient=fake_input.grad, inputs=list(self.generator.parameters()))
        self.manual_backward(fake_loss, inputs=discriminator_weights)
        with self.autocast():
            real_logits = self.discriminator(self.augment(real), label)
            real_loss = logistic_real(real_logits)
        self.manual_backward(real_loss, inputs=discriminator_weights)
        self.record("loss/generator", generator_loss)
        self.record("loss/discriminator", real_loss.detach() + fake_loss.detach())
        self.record("logits/real", real_logits.mean())
        self.record("logits/real_positive", (real_logits > 0).float().mean())
        group = getattr(self.discriminator, "group_size", GROUP_SIZE)
        spread = [minibatch_stddev(spec.float(), group).mean() for spec in (fake_input.detach(), real)]
        self.record("minibatch_stddev/ratio", spread[0] / spread[1])
        self.record("logits/fake", fake_logits.mean())

    def mode_seeking_backward(self, num_pairs: int, label: Tensor | None) -> None:
        """Add the generator's gradients of the mode seeking loss, on pairs of clips generated for it alone.

        Args:
            num_pairs: Number of pairs to generate.
            label: One-hot labels, float32 [num_pairs, num_classes], or None.
        """
        z = self._latents(2 * num_pairs)
        with self.autocast():
            pairs = None if label is None else label.repeat_interleave(2, dim=0)
            spec = self.generator.synthesis(self._styles(z, pairs))
        loss = mode_seeking(spec.float(), z)
        self.manual_backward(
            self.mode_seeking_weight * MODE_SEEKING_INTERVAL * loss, inputs=list(self.generator.parameters())
        )
        self.record("loss/mode_seeking", loss)

    def r1_backward(self, real: Tensor, label: Tensor | None) -> None:
        """Compute the discriminator's gradients of the lazy R1 penalty.

        Args:
            real: float32 [B, C, F, L].
            label: One-hot labels, float32 [B, num_classes], or None.
        """
        real = real.detach().requires_grad_()
        with torch.autocast(self.device.type, enabled=False):
            penalty = r1_penalty(self.discriminator(self.augment(real), label), real)
        loss = penalty * (self.r1_gamma / 2 * self.r1_interval)
        self.manual_backward(loss, inputs=list(self.discriminator.parameters()))
        self.record("penalty/r1", penalty)

    def path_length_backward(self, num: int, label: Tensor | None) -> None:
        """Compute the generator's gradients of the lazy path length penalty.

        Args:
            num: Number of clips to generate; half a batch is enough.
            label: One-hot labels, float32 [B, num_classes] with B >= num, or None.
        """
        with torch.autocast(self.device.type, enabled=False):
            ws = self._styles(self._latents(num), None if label is None else label[:num])
            spec = self.generator.synthesis(ws)
            lengths = path_lengths(spec, ws, rng.randn(spec.shape, spec.device))
            mean = self.path_length_mean.lerp(all_reduce_mean(lengths.mean()), self.path_length_decay)
            penalty = path_length_penalty(lengths, mean)
        self.path_length_mean.copy_(mean)
        loss = penalty * (self.path_length_weight * self.path_length_interval)
        self.manual_backward(loss, inputs=list(self.generator.parameters()))
        self.record("path_length/mean", mean)
        self.record("penalty/path_length", penalty)

    @torch.no_grad()
    def sample(self, label: Tensor, seeds: Sequence[int], truncation: float = 1.0) -> Tensor:
        """Generate clips with the averaged generator.

        A clip depends only on its class, its seed and the truncation, not on the other clips in the call.

        Args:
            label: Class indices, int64 [N]; ignored without classes.
            seeds: N seeds.
            truncation: 1 leaves styles unchanged, 0 replaces them by the mean style.

        Returns:
            spec, float32 [N, C, F, L] on the model's device.
        """
        latents = [torch.randn(self.generator_ema.z_dim, generator=torch.Generator().manual_seed(s)) for s in seeds]
        # Use a fixed batch size: rounding in convolutions depends on it, and Griffin-Lim amplifies the difference.
        missing = -len(latents) % SAMPLE_BATCH
        z = torch.stack(latents + latents[:1] * missing).to(self.device).type_as(self.path_length_mean)
        one_hot = self.one_hot(F.pad(label, (0, missing)).to(self.device))
        specs = []
        for first in range(0, len(z), SAMPLE_BATCH):
            part = slice(first, first + SAMPLE_BATCH)
            ws = self.generator_ema.mapping(z[part], None if one_hot is None else one_hot[part], truncation)
            specs.append(self.generator_ema.synthesis(ws, noise_mode="const"))
        return torch.cat(specs)[: len(seeds)].float()

    def one_hot(self, label: Tensor) -> Tensor | None:
        """Convert class indices, int64 [B], to float32 [B, num_classes], or None without classes."""
        return F.one_hot(label, len(self.label_names)).to(self.dtype) if self.label_names else None

    def _latents(self, num: int) -> Tensor:
        """Draw z, float [num, z_dim]."""
        return rng.randn((num, self.generator.z_dim), self.device).to(self.dtype)

    def _styles(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Map latents [B, z_dim] to ws [B, num_ws, w_dim], with style mixing."""
        ws = self.generator.mapping(z, label)
        # Draw on the CPU, because a decision on the GPU would force a synchronisation.
        if rng.rand(()) < self.style_mixing:
            cutoff = int(rng.randint(1, max(ws.shape[1], 2), ()))
            other = self.generator.mapping(self._latents(len(z)), label)
            ws = torch.cat([ws[:, :cutoff], other[:, cutoff:]], dim=1)
        return ws

    def _mean_logit(self, batch: Batch) -> Tensor:
        """Return the mean logit of clips, augmented as in training."""
        return self.discriminator(self.augment(batch.spec), self.one_hot(batch.label)).mean()


def _check(
    batch_size: int, style_mixing: float, r1_interval: int, path_length_interval: int, mode_seeking_weight: float
) -> None:
    """Check the ranges of settings."""
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, got {batch_size}")
    if not 0 <= style_mixing <= 1:
        raise ValueError(f"style_mixing must be a probability in [0, 1], got {style_mixing}")
    if r1_interval < 0 or path_length_interval < 0:
        raise ValueError(
            "r1_interval and path_length_interval must be >= 0 (0 disables the penalty), "
            f"got {r1_interval} and {path_length_interval}"
        )
    if mode_seeking_weight < 0:
        raise ValueError(f"mode_seeking_weight must be >= 0, got {mode_seeking_weight}")
