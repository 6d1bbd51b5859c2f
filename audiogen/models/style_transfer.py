"""Transfer style and synthesise textures by optimising a spectrogram, after Gatys et al. (2015).

Sources: Jain & Raj (2019), Huzaifah & Wyse (2020) and Lin (2021).

The spectrogram is the parameter, and a fixed network supplies the features. The content's features are preserved, and
the Gram matrices of the style's features are the target. No weights are trained: a Trainer step evaluates a batch of
pairs once, and each pair's own optimiser takes a step.

Extensions:

- Content and style can be weighted by a balance of losses relative to the pair (see `Losses`).
- Many balances and pairs are optimised at once.
- A sound can continue a given beginning.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from audiogen.checkpoint import load
from audiogen.data.batch import Batch
from audiogen.distributed import all_gather, num_processes
from audiogen.losses.style import StyleTarget
from audiogen.models.kimg import KimgModule
from audiogen.models.per_example import PerExampleAdam, PerExampleLBFGS, PerExampleOptimizer
from audiogen.models.precision import Precision, has_fast_bf16
from audiogen.models.transfer import Content, Losses, Objective, Transfer, Weights
from audiogen.networks.style_cnn import WideConv2d
from audiogen.transforms.transform import SpectrogramTransform

Shape = tuple[int, int, int]
Start = Literal["content", "noise"]
Method = Literal["lbfgs", "adam"]
# Weight of the relative style loss at a balance of 0.5. On three pairs, the long-term spectrum then moved towards the
# style's while the onsets remained the content's (docs/style_transfer.md).
EQUAL_STYLE_WEIGHT = 3.6
ROLES = ["content", "style"]  # the classes of pairs


class StyleTransfer(KimgModule):
    """Optimise spectrograms to have the content of one sound and the style of another.

    Args:
        transform: The spectrogram definition (linked to the data's).
        label_names: Class names of the data: content and style (linked to the data's).
        batch_size: Pairs optimised at once over all processes (linked to the data's).
        extractor: Creates the feature network from (C, F, L), such as `StyleCNN`. Give either this or `weights`.
        weights: Checkpoint or run directory of a classifier trained with such a network.
        content_extractor: Creates a separate network for the content's features from the transform, such as
            `VGGishFeatures`; null to use the same network.
        style_layers: Layers whose Gram matrices are compared.
        content_layer: Layer whose features are compared.
        balance: Balance of relative losses from 0 (content only) to 1 (style only); a list makes one sound of each pair
            per value. null to use the weights below.
        relative: Apply `content_weight` and `style_weight` to relative losses (see `Losses`) instead of the papers'
            losses.
        content_weight: Weight of the mean squared difference of features (alpha in Huzaifah & Wyse, 2020); 0 makes a
            texture.
        style_weight: Weight of the mean squared difference of Gram matrices (beta in Huzaifah & Wyse, 2020); a list
            makes one sound of each pair per value.
        bound_weight: Weight of the norm of values outside the spectrogram's range (gamma in Huzaifah & Wyse, 2020).
        softplus: Keep spectrograms above silence by their parametrisation. With a penalty instead, L-BFGS stops early,
            because a norm has no gradient at 0, or leaves many values below silence, which are inaudible.
        start: Initial spectrogram: "content" or "noise". Without a content, noise makes a texture as long as the
            style's clip.
        noise_scale: Upper limit of the uniform noise, as a fraction of the value range.
        method: Optimiser: "lbfgs" or "adam".
        iterations: Evaluations per pair.
        learning_rate: Adam's learning rate, as a fraction of the value range.
        history: Number of steps in L-BFGS's history.
        line_search: Whether L-BFGS shortens steps that do not decrease the loss enough.
        precision: Arithmetic of the convolutions: "bf16", "fp32", or "auto" for bf16 if the hardware computes in it.
        seed: Seed of the noise.
        log_every: Evaluations between logged values.

    Raises:
        ValueError: If a value is out of range, the data are not pairs, or the network was trained on another
            spectrogram.
    """

    def __init__(
        self,
        transform: SpectrogramTransform,
        label_names: list[str],
        batch_size: int,
        extractor: Callable[[Shape], nn.Module] | None = None,
        weights: str | None = None,
        content_extractor: Callable[[SpectrogramTransform], nn.Module] | None = None,
        style_layers: Sequence[str] = ("relu_1",),
        content_layer: str = "relu_3",
        balance: float | list[float] | None = None,
        relative: bool = False,
        content_weight: float = 1.0,
        style_weight: float | list[float] = 1e7,
        bound_weight: float = 1e-3,
        softplus: bool = False,
        start: Start = "content",
        noise_scale: float = 0.1,
        method: Method = "lbfgs",
        iterations: int = 500,
        learning_rate: float = 0.03,
        history: int = 100,
        line_search: bool = False,
        precision: Precision = "auto",
        seed: int = 0,
        log_every: int = 10,
    ) -> None:
        super().__init__(
            transform, label_names, batch_size, iterations * batch_size / 1000, log_every * batch_size / 1000
        )
        self.save_hyperparameters()
        self.automatic_optimization = False  # each pair has its own optimiser
        self.strict_loading = False
        if label_names and label_names != ROLES:
            raise ValueError(
                "style transfer needs pairs of content and style (--data.dataset audiogen.data.datasets.pairs.Pairs), "
                f"got data with the classes {', '.join(label_names)}"
            )
        _check(balance, content_weight, style_weight, bound_weight, start, method)
        self.extractor = _network(transform, extractor, weights)
        self.content_extractor = None if content_extractor is None else content_extractor(transform)
        self.requires_grad_(False).eval()
        self.style_layers, self.content_layer = list(style_layers), content_layer
        self.balance, self.content_weight, self.style_weight = balance, content_weight, style_weight
        self.relative = relative or balance is not None
        self.bound_weight, self.softplus = bound_weight, softplus
        self.start, self.noise_scale, self.seed = start, noise_scale, seed
        self.method, self.iterations, self.learning_rate = method, iterations, learning_rate
        self.history, self.line_search = history, line_search
        self.precision: Precision = precision
        self.transfer: Transfer | None = None
        self.pairs: list[tuple[Tensor, Tensor]] = []  # content and style of the current pairs, spec [C, F, L]
        self._saved: dict[str, Any] | None = None
        # Checkpoints omit the network, whose weights come from a seed or from another checkpoint.
        self.register_state_dict_post_hook(_drop_networks)
        self.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())

    @property
    def num_variants(self) -> int:
        """Number of sounds made of each pair."""
        return max(len(_as_list(self.balance)), len(_as_list(self.style_weight)))

    def variant_names(self) -> list[str]:
        """Return a name for each sound of a pair; an empty name if there is only one."""
        values, name = (self.style_weight, "style_weight") if self.balance is None else (self.balance, "balance")
        return [f"{name} {value:g}" for value in values] if isinstance(values, list) else [""]

    def begin(
        self,
        content: Tensor | None,
        styles: Sequence[Sequence[Tensor]],
        style_weights: Sequence[float] | None = None,
        num_frames: int | None = None,
        prefix: Tensor | None = None,
        first_seed: int = 0,
    ) -> Transfer:
        """Start an optimisation.

        Args:
            content: Contents, float32 [B, C, F, L] in [-1, 1]; None for textures.
            styles: Style references of each of the B sounds, spec float32 [C, F, L] of any length.
            style_weights: Weights of the references; equal by default.
            num_frames: Length of textures, L; by default the length of the first reference.
            prefix: Fixed first frames of each result, float32 [B x `num_variants`, C, F, K]; None for none.
            first_seed: Number added to the seed of the noise, which differs for each sound.

        Returns:
            The running optimisation of B x `num_variants` spectrograms, with the variants of a pair in sequence.

        Raises:
            ValueError: If a sound is too short for the network.
        """
        for module in (self.extractor, self.content_extractor):
            _choose_precision(module, self.precision)
        with torch.no_grad():
            frames = (
                (styles[0][0].shape[2] if num_frames is None else num_frames) if content is None else content.shape[3]
            )
            start = self._start(content, len(styles), frames, first_seed)
            kept: Content | None = None
            if content is not None and self.keeps_content:
                network: Any = self.extractor if self.content_extractor is None else self.content_extractor
                silence = self._silence()[..., :1].expand_as(content[:1])
                kept = Content(network, self.content_layer, self._repeat(content), silence)
            targets = self._targets(styles, style_weights)
            weights = self._weights(len(styles), kept is not None)
            objective = Objective(self.extractor, targets, kept, weights)
        return Transfer(objective, self._repeat(start), self._make_optimizer, self.softplus, prefix)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate the pairs of a batch once and take a step. The same batch is repeated until its pairs are done."""
        group, evaluation = divmod(self.clips_seen // self.batch_size, self.iterations)
        if self.transfer is None or evaluation == 0:
            self.transfer = self._begin_batch(batch, group)
            if evaluation and self._saved is not None:
                self.transfer.load_state_dict(self._saved)
        if not self.transfer.done:
            self.transfer.step()
        assert self.transfer.losses is not None
        for name, values in self.transfer.losses._asdict().items():
            self.record(f"loss/{name}", values.mean())
        self.count_clips()

    @property
    def finished(self) -> bool:
        """Whether the step just counted was the last one for its batch of pairs."""
        return self.clips_seen // self.batch_size % self.iterations == 0

    def metric_names(self) -> set[str]:
        """Return the names of all logged metrics; see `KimgModule`."""
        return {f"loss/{name}" for name in Losses._fields} | {"speed/clips_per_second"}

    def configure_optimizers(self) -> None:
        """Return None, because each pair has its own optimiser."""

    def on_fit_start(self) -> None:
        """Log what will be optimised, and set the end of the run to the end of the last pair."""
        pairs: int = self.trainer.datamodule.num_pairs  # type: ignore[attr-defined]
        batches = -(-pairs // self.batch_size)
        self.total_kimg = batches * self.batch_size * self.iterations / 1000
        if self.report_done():
            return
        millions = sum(weight.numel() for weight in self.extractor.parameters()) / 1e6
        channels, bands, frames = self.transform.shape
        rank_zero_info(
            f"StyleTransfer: pairs {pairs}, {self.batch_size} at once; sounds of each {self.num_variants}; "
            f"spectrograms of {channels} x {bands} bands x {frames} frames ({self.transform.seconds:.2f} s); "
            f"{self.iterations} evaluations by {self.method}; features of a network of {millions:.1f} M fixed weights"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the running optimisations of all processes."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["transfer"] = all_gather(None if self.transfer is None else self.transfer.state_dict())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the saved optimisation until its batch is repeated.

        Raises:
            ValueError: If the number of processes has changed, which would assign other pairs to them.
        """
        super().on_load_checkpoint(checkpoint)
        states = checkpoint["transfer"]
        if len(states) != num_processes():
            raise ValueError(f"pairs are in progress in {len(states)} processes: start as many, not {num_processes()}")
        self._saved = states[self.global_rank]

    @property
    def keeps_content(self) -> bool:
        """Whether there is a content loss."""
        return self.balance is not None or self.content_weight > 0

    def _begin_batch(self, batch: Batch, group: int) -> Transfer:
        """Start optimising the pairs of a batch; `group` is the index of the batch."""
        content, style = (batch.spec[batch.label == ROLES.index(role)] for role in ROLES)
        self.pairs = [
            (spec, _without_end(sound, self._silence()[0])) for spec, sound in zip(content, style, strict=True)
        ]
        styles = [[sound] for _, sound in self.pairs]
        wanted = content if self.keeps_content or self.start == "content" else None
        return self.begin(wanted, styles, num_frames=content.shape[3], first_seed=group * self.batch_size)

    def _repeat(self, spec: Tensor) -> Tensor:
        """Repeat spec [B, ...] for each variant."""
        return spec.repeat_interleave(self.num_variants, dim=0)

    def _start(self, content: Tensor | None, num: int, frames: int, first_seed: int) -> Tensor:
        """Return the initial spectrograms, float32 [B, C, F, L]."""
        if content is not None and self.start == "content":
            return content
        noise = [
            torch.rand(*self.transform.shape[:2], frames, generator=torch.Generator().manual_seed(seed))
            for seed in self.clip_seeds(self.seed, first_seed + num)[first_seed:]
        ]
        return self._silence() + 2 * self.noise_scale * torch.stack(noise).to(self.device)

    def _silence(self) -> Tensor:
        """Return a frame of silence, float32 [1, C, F, 1]."""
        return self.transform(torch.zeros(1, self.transform.shape[0], self.transform.hop_length, device=self.device))

    def _targets(
        self, styles: Sequence[Sequence[Tensor]], style_weights: Sequence[float] | None
    ) -> dict[str, StyleTarget]:
        """Return the target Gram matrices of the style layers."""
        found = [[self.extractor.features(spec[None], self.style_layers) for spec in sounds] for sounds in styles]
        found = [sounds for sounds in found for _ in range(self.num_variants)]
        return {
            name: StyleTarget([[features[name][0] for features in sounds] for sounds in found], style_weights)
            for name in self.style_layers
        }

    def _weights(self, num: int, keeps: bool) -> Weights:
        """Return the weights of `num` pairs with their variants."""

        def each(values: float | list[float]) -> Tensor:
            row = torch.tensor(_as_list(values), dtype=torch.float64, device=self.device)
            return row.expand(self.num_variants).repeat(num)

        content, style = each(self.content_weight), each(self.style_weight)
        if self.balance is not None:
            balance = each(self.balance)
            content, style = (
                (1 - balance) ** 2,
                EQUAL_STYLE_WEIGHT * balance**2,
            )  # squares spread out the middle of a sweep
        if self.relative and not keeps:
            style = torch.ones_like(style)
        return Weights(content, style, each(self.bound_weight), self.relative)

    def _make_optimizer(self, start: Tensor) -> PerExampleOptimizer:
        """Return a new optimiser for one vector."""
        if self.method == "adam":
            return PerExampleAdam(start, self.learning_rate)
        return PerExampleLBFGS(start, self.history, self.line_search)


def _network(transform: SpectrogramTransform, make: Callable[[Shape], nn.Module] | None, weights: str | None) -> Any:
    """Return the feature network.

    Raises:
        ValueError: If not exactly one source is given, or if the classifier has no such layers or another spectrogram.
    """
    if (make is None) == (weights is None):
        raise ValueError("give either extractor (a network) or weights (a trained classifier)")
    if make is not None:
        return make(transform.shape)
    model = load(str(weights))
    network = getattr(model, "network", None)
    if not hasattr(network, "features"):
        raise ValueError(
            f"{weights} has no network with layers to compare: train one with configs/classifier_esc50.yaml"
        )
    if not transform.same_spectrogram(model.transform, any_length=True):
        raise ValueError(f"{weights} was trained on another spectrogram: use the transform of its config")
    return network


def _choose_precision(network: nn.Module | None, precision: Precision) -> None:
    """Convert the weights of wide convolutions to bf16 or back, according to the precision."""
    for module in [] if network is None else network.modules():
        if isinstance(module, WideConv2d):
            fast = precision == "bf16" or (precision == "auto" and has_fast_bf16(module.weight.device))
            module.to(torch.bfloat16 if fast else torch.float32)


def _without_end(spec: Tensor, silence: Tensor) -> Tensor:
    """Return spec [C, F, L] without trailing silence; if everything is silent, return all of it."""
    sounding = torch.nonzero((spec != silence).flatten(0, 1).any(dim=0))
    return spec[..., : int(sounding[-1]) + 1] if len(sounding) else spec


def _as_list(values: float | list[float] | None) -> list[float]:
    if values is None:
        return []
    return list(values) if isinstance(values, Sequence) else [values]


def _drop_networks(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        del state[name]


def _check(
    balance: float | list[float] | None,
    content_weight: float,
    style_weight: float | list[float],
    bound_weight: float,
    start: str,
    method: str,
) -> None:
    """Check the ranges of settings and refuse combinations that conflict."""
    for name, value, legal in (("start", start, Start), ("method", method, Method)):
        if value not in get_args(legal):
            raise ValueError(f"{name} must be {' or '.join(get_args(legal))}, got {value!r}")
    balances, weights = _as_list(balance), _as_list(style_weight)
    if any(not 0 <= value <= 1 for value in balances):
        raise ValueError(f"balance must be in [0 (content), 1 (style)], got {balance}")
    if min([*weights, content_weight, bound_weight]) < 0:
        raise ValueError(f"weights must not be negative, got {content_weight}, {style_weight} and {bound_weight}")
    if isinstance(balance, list) and isinstance(style_weight, list):
        raise ValueError("balance and style_weight cannot both be lists")
    if not balances and not content_weight and not any(weights):
        raise ValueError("nothing to optimise: content_weight and style_weight are both 0")
