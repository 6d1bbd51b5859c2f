"""From spectrograms to the rows that metrics compare."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchaudio.functional as audio
from torch import Tensor, nn

from audiogen.transforms.transform import SpectrogramTransform

Batches = Iterable[tuple[Tensor, Tensor]]  # spec, float32 [B, C, F, L], and label, int64 [B]


class Embedding(nn.Module, ABC):
    """A fixed network that turns clips into rows of features.

    It takes either spectrograms of a transform of its own or sounds. Clips of another spectrogram are made audible for
    it, real and generated ones alike, so what is lost on the way to sound counts for neither.

    Args:
        name: Part of the names of the metrics, such as fad_classifier.
        num_features: D of a row.
        sample_rate: Of the sounds it takes, in Hz.
        transform: What it takes spectrograms of; None where it takes sounds.
        kind: "a" for distances called fad and kad, "i" for fid and kid.

    Attributes:
        label_names: The classes it can tell apart, none by default.
    """

    label_names: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        num_features: int,
        sample_rate: int,
        transform: SpectrogramTransform | None = None,
        kind: str = "a",
    ) -> None:
        super().__init__()
        self.name, self.num_features, self.sample_rate, self.kind = name, num_features, sample_rate, kind
        self.transform = transform

    @abstractmethod
    def forward(self, clips: Tensor) -> Tensor:
        """Embed clips.

        Args:
            clips: spec, float32 [B, C, F, L] of `transform`, or wav, float32 [B, 1, T] at `sample_rate`.

        Returns:
            float [B, K, D]: K rows of each clip.
        """

    def classify(self, rows: Tensor) -> Tensor:
        """Return the class index of each clip by its rows [B, K, D], int64 [B]; only of one that has `label_names`."""
        raise NotImplementedError(f"{self.name} knows no classes")

    def takes(self, transform: SpectrogramTransform) -> bool:
        """Tell whether spectrograms of a transform need not be made audible."""
        return self.transform is not None and self.transform.same_spectrogram(transform)

    def full_name(self, metric: str) -> str:
        """Return the name of a metric in this embedding: fad becomes fad_classifier, or fid_inception."""
        if self.kind == "i":
            metric = re.sub("^([fk])ad", r"\1id", metric)
        return f"{metric}_{self.name}"

    def describe(self, transform: SpectrogramTransform) -> str:
        """Say how clips of a transform are embedded."""
        way = f"{self.name}: {self.num_features} features"
        if self.takes(transform):
            return f"{way} of the spectrograms as they are"
        if self.sample_rate == transform.sample_rate:
            return f"{way} of sounds made of the spectrograms"
        rates = f"{transform.sample_rate} to {self.sample_rate} Hz"
        return f"{way} of sounds made of the spectrograms, resampled from {rates}"


class Embedded(NamedTuple):
    """Embedded clips.

    Attributes:
        rows: float64 [N, K, D].
        label: int64 [N].
        predicted: int64 [N], or None where the embedding knows no classes.
    """

    rows: Tensor
    label: Tensor
    predicted: Tensor | None


@torch.no_grad()
def embed(embedding: Embedding, batches: Batches, transform: SpectrogramTransform, first: int = 0) -> Embedded:
    """Embed clips.

    Args:
        embedding: On the device where it computes.
        batches: spec, float32 [B, C, F, L] of `transform`, and label, int64 [B].
        transform: The spectrogram definition of the clips.
        first: Number of the first clip, for what is said of one.

    Returns:
        The rows, on the embedding's device where it computes in float64.

    Raises:
        ValueError: Where an embedding is NaN or infinite, naming the clip, or there are no clips.
    """
    rows, labels, predicted, seen = [], [], [], first
    for spec, label in batches:
        found = embedding(clips_for(embedding, spec, transform))  # [B, K, D]
        bad = torch.nonzero(~torch.isfinite(found).all(dim=2).all(dim=1))[:, 0]
        if len(bad):
            of_class = int(label[bad[0]])
            raise ValueError(f"{embedding.name}: the embedding of clip {seen + int(bad[0])} (class {of_class}) is NaN")
        place = device_of_rows(found.device)
        predicted += [embedding.classify(found).to(place)] if embedding.label_names else []
        rows.append(found.to(place).double())
        labels.append(label.to(place))
        seen += len(label)
    if not rows:
        raise ValueError(f"{embedding.name}: no clips to embed")
    return Embedded(torch.cat(rows), torch.cat(labels), torch.cat(predicted) if predicted else None)


def device_of_rows(device: torch.device) -> torch.device:
    """Return where rows of clips on a device are kept: there, unless it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def clips_for(embedding: Embedding, spec: Tensor, transform: SpectrogramTransform) -> Tensor:
    """Return what an embedding takes of spec [B, C, F, L]: its own spectrograms [B, C, F', L'] or sounds [B, 1, T]."""
    spec = spec.clamp(-1, 1)
    if embedding.takes(transform):
        return spec
    wav = transform.inverse(spec)
    wav = audio.resample(wav, transform.sample_rate, embedding.sample_rate)
    own = embedding.transform
    if own is None:
        return wav.mean(dim=1, keepdim=True)
    wav = wav if wav.shape[1] == own.shape[0] else wav.mean(dim=1, keepdim=True).expand(-1, own.shape[0], -1)
    return own(F.pad(wav, (0, max(own.num_samples - wav.shape[2], 0)))[..., : own.num_samples])
