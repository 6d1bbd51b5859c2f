"""Spectrograms that are being optimised: the objective of style transfer and the state of a running optimisation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.losses.style import StyleTarget, content_distance, excess
from audiogen.models.per_example import PerExampleOptimizer

MIN_SCALE = 1e-12  # content scale of a silent content, which therefore stays silent
SOFTNESS = 0.1  # of the softplus, in halves of the range: the amplitude has its slope over about so much
SILENT = 0.01  # what silence begins as under a softplus, where nothing would move it from 0
MIN_STYLE = 1e-2  # of the Gram matrix's mean square: less lies between sounds of the same style


class Extractor(Protocol):
    """What computes features; see `audiogen.networks.style_cnn.StyleCNN`."""

    def features(self, spec: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return features, float32 [B, N, P], of spec [B, C, F, L] by the names of layers."""


class Losses(NamedTuple):
    """Of B spectrograms, float64 [B] each.

    Attributes:
        total: What is optimised.
        content: Mean squared difference of the content layer's features, relative to the content's distance from
            silence: 0 for the content itself, 1 for silence.
        style: Mean squared difference of Gram matrices, relative to that of the content: 1 for the content itself; to
            the wanted Gram matrix where there is no content.
        bound: Norm of what lies outside [-1, 1], in halves.
    """

    total: Tensor
    content: Tensor
    style: Tensor
    bound: Tensor


@dataclass(frozen=True)
class Weights:
    """How much of what counts in the total, float64 [B] each.

    Attributes:
        content: Alpha of Huzaifah & Wyse (2020).
        style: Beta.
        bound: Gamma.
        relative: Whether content and style are relative, as in `Losses`, or mean squared differences as they are.
    """

    content: Tensor
    style: Tensor
    bound: Tensor
    relative: bool


class Content(NamedTuple):
    """What keeps the content.

    Attributes:
        extractor: Computes the features.
        layer: Name of the layer whose features are compared.
        spec: The contents' spectrograms, float32 [B, C, F, L].
        silence: A spectrogram of silence, float32 [1, C, F, L].
    """

    extractor: Extractor
    layer: str
    spec: Tensor
    silence: Tensor


class Objective:
    """The losses of B spectrograms.

    Args:
        extractor: Computes the style's features.
        styles: Target Gram matrices by layer name.
        content: What keeps the content; None for a texture.
        weights: Weights of the parts.
    """

    def __init__(
        self,
        extractor: Extractor,
        styles: Mapping[str, StyleTarget],
        content: Content | None,
        weights: Weights,
    ) -> None:
        self.extractor, self.styles, self.weights = extractor, styles, weights
        self.keeper, self.layer = (extractor, "") if content is None else content[:2]
        self.wanted: Tensor | None = None
        self.style_scales = {name: target.power for name, target in styles.items()}
        self.content_scale = torch.ones_like(weights.content)
        if content is not None:
            with torch.no_grad():
                found = self._features(content.spec)
                self.wanted = found.pop(self.layer)
                silence = self._features(content.silence)[self.layer]
                self.content_scale = content_distance(silence, self.wanted).clamp_min(MIN_SCALE)
                for name, target in styles.items():
                    features = self.wanted if name == self.layer and self.keeper is extractor else found[name]
                    self.style_scales[name] = torch.maximum(target.distance(features), MIN_STYLE * target.power)

    def __call__(self, spec: Tensor) -> Losses:
        """Return the losses of spec, float32 [B, C, F, L] in [-1, 1] or somewhat beyond."""
        found = self._features(spec)
        zero = torch.zeros_like(self.weights.content)
        content = zero if self.wanted is None else content_distance(found[self.layer], self.wanted)
        style = [target.distance(found[name]) for name, target in self.styles.items()]
        scaled = [part / self.style_scales[name] for name, part in zip(self.styles, style, strict=True)]
        own = Losses(zero, content / self.content_scale, torch.stack(scaled).mean(dim=0), excess((spec + 1) / 2))
        parts = own if self.weights.relative else own._replace(content=content, style=torch.stack(style).sum(dim=0))
        weights = self.weights
        return own._replace(
            total=weights.content * parts.content + weights.style * parts.style + weights.bound * parts.bound
        )

    def _features(self, spec: Tensor) -> dict[str, Tensor]:
        """Return features of the style's layers, and of the content's."""
        names = list(self.styles)
        if not self.layer:
            return self.extractor.features(spec, names)
        if self.keeper is self.extractor:
            return self.extractor.features(spec, [*names, self.layer])
        return self.extractor.features(spec, names) | self.keeper.features(spec, [self.layer])


class Transfer:
    """An optimisation under way.

    Args:
        objective: What is asked.
        start: float32 [B, C, F, L] in [-1, 1].
        make_optimizer: Makes an optimiser from a vector, float32 [D].
        softplus: Optimise what becomes the spectrogram by a softplus, so that nothing falls below silence; otherwise
            the spectrogram itself.
        prefix: The first frames, float32 [B, C, F, K], where they are there already and have to stay.

    Attributes:
        iteration: Evaluations so far.
        losses: Of `spec`, the last good spectrograms.
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
        """The last good spectrograms, float32 [B, C, F, L]."""
        return self._to_spec(torch.stack([optimizer.best for optimizer in self.optimizers]))

    @property
    def done(self) -> bool:
        """Whether no step makes any of them better."""
        return all(optimizer.done for optimizer in self.optimizers)

    def step(self) -> Losses:
        """Evaluate all once and move on.

        Raises:
            FloatingPointError: Where a loss or a gradient is not finite and no shorter step can be tried; `spec` is
                what was there before.
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
        """Return what `load_state_dict` needs to go on."""
        losses = None if self.losses is None else list(self.losses)
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"iteration": self.iteration, "losses": losses, "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` of the same transfer."""
        self.iteration = state["iteration"]
        if state["losses"] is not None:
            self.losses = Losses(*_moved(state["losses"], self.objective.content_scale.device))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            device = optimizer.point.device
            optimizer.load_state_dict({name: _moved(value, device) for name, value in saved.items()})

    def _to_spec(self, points: Tensor) -> Tensor:
        """Turn points, float32 [B, D], into spec, float32 [B, C, F, L], with the prefix in its place."""
        if self.softplus:
            points = SOFTNESS * F.softplus(points / SOFTNESS)
        spec = 2 * points.unflatten(1, self.shape) - 1
        return spec if self.prefix is None else torch.cat([self.prefix, spec[..., self.prefix.shape[3] :]], dim=3)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value
