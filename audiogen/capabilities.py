"""What callbacks, metrics and commands need of a model, as protocols: a model that has the members can be used."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from audiogen.transforms.transform import SpectrogramTransform

Capability = TypeVar("Capability")


@runtime_checkable
class Trained(Protocol):
    """A model whose training is measured in clips shown; `audiogen.models.kimg.KimgModule` documents the members."""

    transform: SpectrogramTransform
    label_names: list[str]
    batch_size: int
    total_kimg: float
    log_every_kimg: float
    clips_seen: int
    stopped: bool
    mid_step: bool
    max_skipped: int
    last_logged: dict[str, float]

    @property
    def device(self) -> torch.device: ...
    @property
    def kimg(self) -> float: ...
    @property
    def ended(self) -> bool: ...
    def crossed(self, interval_kimg: float) -> bool: ...
    def metric_names(self) -> set[str] | None: ...
    def log_by_clips(self, values: dict[str, float]) -> None: ...
    def log_dict(self, dictionary: Any) -> None: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def get_submodule(self, target: str) -> nn.Module: ...


@runtime_checkable
class Samples(Trained, Protocol):
    """A model that generates clips of a class from seeds."""

    def sample(self, label: Tensor, seeds: Sequence[int], truncation: float = 1.0) -> Tensor: ...
    def clip_seeds(self, seed: int, num: int) -> list[int]: ...


@runtime_checkable
class Converts(Trained, Protocol):
    """A model that converts spectrograms of any length to a target domain."""

    targets: list[int]
    segment: tuple[int, int, int]

    def convert(self, spec: Tensor, target: Tensor, overlap: float = 0.5) -> Tensor: ...
    def hop_frames(self, overlap: float) -> int: ...


@runtime_checkable
class Averages(Protocol):
    """A model with averaged copies of some networks, by their names."""

    averaged: tuple[str, ...]


@runtime_checkable
class Transfers(Trained, Protocol):
    """A model that optimises pairs of content and style; `audiogen.models.style_transfer` documents the members."""

    transfer: Any
    pairs: list[tuple[Tensor, Tensor]]
    iterations: int

    @property
    def finished(self) -> bool: ...
    def variant_names(self) -> list[str]: ...


def require(module: Any, capability: type[Capability], method: str, user: str) -> Capability:
    """Return a model if it has a capability.

    Args:
        module: The model.
        capability: One of the protocols.
        method: Its principal method, for the message.
        user: What needs it, for the message.

    Raises:
        ValueError: If the model lacks a member.
    """
    if not isinstance(module, capability):
        raise ValueError(f"{user} needs a model with a method {method}; {type(module).__name__} has none")
    return module


def trained(module: Any) -> Trained:
    """Return a LightningModule as what it is: the command line trains only subclasses of `KimgModule`."""
    return cast(Trained, module)
