"""Define the objective of style transfer and the state of a running optimisation of spectrograms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.losses.style import StyleTarget, content_distance, excess
from audiogen.models.per_example import PerExampleOptimizer

MIN_SCALE = 1e-12  # content scale of a silent content, so that it stays silent
SOFTNESS = 0.1  # width of the softplus's bend, in halves of the value range
SILENT = 0.01  # initial value of silence under a softplus, whose gradient vanishes at 0
MIN_STYLE = 1e-2  # of the Gram matrix's mean square; sounds of the same style differ by less


class Extractor(Protocol):
    """A network that computes features; see `audiogen.networks.style_cnn.StyleCNN`."""

    def features(self, spec: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the features, float32 [B, N, P], of spec [B, C, F, L] at the named layers."""


class Losses(NamedTuple):
    """Losses of B spectrograms, float64 [B] each.

    Attributes:
        total: Weighted sum that is minimised.
        content: Mean squared difference of the content layer's features, relative to the distance of the content from
            silence: 0 for the content itself, 1 for silence.
        style: Mean squared difference of Gram matrices, relative to that of the content: 1 for the content itself.
            Without a content, it is relative to the target Gram matrix.
        bound: Norm of values outside [-1, 1], in halves of the value range.
    """

    total: Tensor
    content: Tensor
    style: Tensor
    bound: Tensor


@dataclass(frozen=True)
class Weights:
    """Weights of the losses in the total, float64 [B] each.

    Attributes:
        content: Weight of the content loss (alpha in Huzaifah & Wyse, 2020).
        style: Weight of the style loss (beta).
        bound: Weight of the bound loss (gamma).
        relative: Whether content and style losses are relative, as in `Losses`, or plain mean squared differences.
    """

    content: Tensor
    style: Tensor
    bound: Tensor
    relative: bool


class Content(NamedTuple):
    """Content to preserve.

    Attributes:
        extractor: Network that computes the features.
        layer: Layer whose features are compared.
        spec: Spectrograms of the contents, float32 [B, C, F, L].
        silence: Spectrogram of silence, float32 [1, C, F, L].
    """

    extractor: Extractor
    layer: str
    spec: Tensor
    silence: Tensor


class Objective:
    """The losses of B spectrograms, relative to given contents and styles.

    Args:
        extractor: Network that computes the style's features.
        styles: Target Gram matrices by layer name.
        content: Content to preserve; None for a texture.
        weights: Weights of the losses.
    """

    def __init__(
        self,
        extractor: Extractor,
        styles: Mapping[str, StyleTarget],
        content: Content | None,
        weights: Weights,
    ) -> None:
        self.extractor, self.styles, self.weights = extractor, styles, weights
        self.content_extractor, self.content_layer = (extractor, "") if content is None else content[:2]
        self.content_features: Tensor | None = None
        self.style_scales = {name: target.power for name, target in styles.items()}
        self.content_scale = torch.ones_like(weights.content)
        if content is not None:
            with torch.no_grad():
                features_of_content = self._features(content.spec)
                self.content_features = features_of_content.pop(self.content_layer)
                silence = self._features(content.silence)[self.content_layer]
                self.content_scale = content_distance(silence, self.content_features).clamp_min(MIN_SCALE)
                for name, target in styles.items():
                    features = (
                        self.content_features
                        if name == self.content_layer and self.content_extractor is extractor
                        else features_of_content[name]
                    )
                    self.style_scales[name] = torch.maximum(target.distance(features), MIN_STYLE * target.power)

    def __call__(self, spec: Tensor) -> Losses:
        """Return the losses of spec, float32 [B, C, F, L] in [-1, 1] or slightly beyond."""
        features = self._features(spec)
        zero = torch.zeros_like(self.weights.content)
        content = (
            zero
            if self.content_features is None
            else content_distance(features[self.content_layer], self.content_features)
        )
        style = [target.distance(features[name]) for name, target in self.styles.items()]
        scaled = [part / self.style_scales[name] for name, part in zip(self.styles, style, strict=True)]
        losses = Losses(zero, content / self.content_scale, torch.stack(scaled).mean(dim=0), excess((spec + 1) / 2))
        parts = (
            losses if self.weights.relative else losses._replace(content=content, style=torch.stack(style).sum(dim=0))
        )
        weights = self.weights
        return losses._replace(
            total=weights.content * parts.content + weights.style * parts.style + weights.bound * parts.bound
        )

    def _features(self, spec: Tensor) -> dict[str, Tensor]:
        """Return the features of the style layers and of the content layer."""
        names = list(self.styles)
        if not self.content_layer:
            return self.extractor.features(spec, names)
        if self.content_extractor is self.extractor:
            return self.extractor.features(spec, [*names, self.content_layer])
        return self.extractor.features(spec, names) | self.content_extractor.features(spec, [self.content_layer])


class Transfer:
    """A running optimisation of spectrograms.

    Args:
        objective: Losses to minimise.
        start: Initial spectrograms, float32 [B, C, F, L] in [-1, 1].
        make_optimizer: Creates an optimiser from an initial vector, float32 [D].
        softplus: Whether to optimise a parametrisation by a softplus, which keeps spectrograms above silence. Otherwise
            the spectrogram itself is optimised.
        prefix: First frames that must stay fixed, float32 [B, C, F, K].

    Attributes:
        iteration: Number of evaluations so far.
        losses: Losses of `spec`, the last accepted spectrograms.
    """

    def __init__(
        self,
        objective: Objective,
        start: Tensor,
        make_optimizer: Callable[[Tensor], PerExampleOptimizer],
        softplus: bool = False,
        prefix: Tensor | None = None,
    ) -> None:
        self.objective, self.shape, self.softplus, self.prefix = objective, start.shape[1:], softplus, prefix
        points = (start + 1) / 2
        if softplus:
            points = SOFTNESS * (points.clamp_min(SILENT) / SOFTNESS).expm1().log()
        self.optimizers = [make_optimizer(vector) for vector in points.flatten(1)]
        self.iteration = 0
        self.losses: Losses | None = None

    @property
    def spec(self) -> Tensor:
        """The last accepted spectrograms, float32 [B, C, F, L]."""
        return self._to_spec(torch.stack([optimizer.best for optimizer in self.optimizers]))

    @property
    def done(self) -> bool:
        """Whether no further improvement of any spectrogram is possible."""
        return all(optimizer.done for optimizer in self.optimizers)

    def step(self) -> Losses:
        """Evaluate all spectrograms once and choose the next points.

        Raises:
            FloatingPointError: If a loss or gradient is not finite and no shorter step can be tried. `spec` is then
                unchanged.
        """
        self.iteration += 1
        with torch.enable_grad():
            points = torch.stack([optimizer.point for optimizer in self.optimizers]).requires_grad_()
            losses = self.objective(self._to_spec(points))
            (gradient,) = torch.autograd.grad(losses.total.sum(), points)
        accepted = torch.zeros_like(losses.total, dtype=torch.bool)
        totals = losses.total.tolist()
        for index, (optimizer, total, slope) in enumerate(zip(self.optimizers, totals, gradient, strict=True)):
            finite = total - total == 0 and bool(slope.isfinite().all())
            if not finite and (self.iteration == 1 or not getattr(optimizer, "line_search", False)):
                which = f" of sound {index}" if self.optimizers[1:] else ""
                raise FloatingPointError(f"the loss{which} became NaN or infinite at iteration {self.iteration}")
            if not optimizer.done:
                point = optimizer.point
                optimizer.step(total if finite else float("inf"), slope)
                accepted[index] = optimizer.best is point
        new, old = (Losses(*(part.detach() for part in some)) for some in (losses, self.losses or losses))
        self.losses = Losses(*(torch.where(accepted, *parts) for parts in zip(new, old, strict=True)))
        return self.losses

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save for `load_state_dict`."""
        losses = None if self.losses is None else list(self.losses)
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"iteration": self.iteration, "losses": losses, "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the same optimisation."""
        self.iteration = state["iteration"]
        if state["losses"] is not None:
            self.losses = Losses(*_moved(state["losses"], self.objective.content_scale.device))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            device = optimizer.point.device
            optimizer.load_state_dict({name: _moved(value, device) for name, value in saved.items()})

    def _to_spec(self, points: Tensor) -> Tensor:
        """Convert points, float32 [B, D], to spec, float32 [B, C, F, L], with the prefix in place."""
        if self.softplus:
            points = SOFTNESS * F.softplus(points / SOFTNESS)
        spec = 2 * points.unflatten(1, self.shape) - 1
        return spec if self.prefix is None else torch.cat([self.prefix, spec[..., self.prefix.shape[3] :]], dim=3)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value
