"""Turn spectrograms into the rows of features that metrics compare."""

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

    It takes either audio or spectrograms of its own transform. Other spectrograms are inverted to audio first, real and
    generated ones alike, so losses of the inversion favour neither.

    Args:
        name: Suffix of the metrics' names, as in fad_classifier.
        num_features: D, the number of features per row.
        sample_rate: Sample rate of the audio it takes, in Hz.
        transform: Definition of the spectrograms it takes; None if it takes audio.
        kind: "a" for distances named fad and kad (audio), "i" for fid and kid (images).

    Attributes:
        label_names: Classes that `classify` predicts, in index order; none by default.
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
            float [B, K, D]: K rows per clip.
        """

    def classify(self, rows: Tensor) -> Tensor:
        """Return the predicted class index of each clip, int64 [B], for rows [B, K, D].

        Embeddings with `label_names` must override it.
        """
        raise NotImplementedError(f"{self.name} has no classes")

    def takes(self, transform: SpectrogramTransform) -> bool:
        """Return whether spectrograms of a transform are embedded directly, without inversion to audio."""
        return self.transform is not None and self.transform.same_spectrogram(transform)

    def full_name(self, metric: str) -> str:
        """Return the full name of a metric in this embedding: fad_classifier, or fid_inception for a metric fad."""
        if self.kind == "i":
            metric = re.sub("^([fk])ad", r"\1id", metric)
        return f"{metric}_{self.name}"

    def describe(self, transform: SpectrogramTransform) -> str:
        """Return a sentence for the user on how clips of a transform are embedded."""
        features = f"{self.name}: {self.num_features} features"
        if self.takes(transform):
            return f"{features} of the spectrograms"
        if self.sample_rate == transform.sample_rate:
            return f"{features} of audio inverted from the spectrograms"
        rates = f"{transform.sample_rate} to {self.sample_rate} Hz"
        return f"{features} of audio inverted from the spectrograms and resampled from {rates}"


class Embedded(NamedTuple):
    """Embedded clips.

    Attributes:
        rows: float64 [N, K, D].
        label: int64 [N].
        predicted: Predicted class indices, int64 [N]; None if the embedding has no classes.
    """

    rows: Tensor
    label: Tensor
    predicted: Tensor | None


@torch.no_grad()
def embed(embedding: Embedding, batches: Batches, transform: SpectrogramTransform, first: int = 0) -> Embedded:
    """Embed clips.

    Args:
        embedding: The network, on the device of the clips.
        batches: Batches of spec, float32 [B, C, F, L] of `transform`, and label, int64 [B].
        transform: The spectrogram definition of the clips.
        first: Number of the first clip, for error messages.

    Returns:
        The rows, on the same device, or on the CPU if the device has no float64.

    Raises:
        ValueError: If there are no clips, or an embedding is NaN or infinite. The message has the clip's number.
    """
    rows, labels, predicted, seen = [], [], [], first
    for spec, label in batches:
        found = embedding(clips_for(embedding, spec, transform))  # [B, K, D]
        bad = torch.nonzero(~torch.isfinite(found).all(dim=2).all(dim=1))[:, 0]
        if len(bad):
            of_class = int(label[bad[0]])
            raise ValueError(f"{embedding.name}: the embedding of clip {seen + int(bad[0])} (class {of_class}) is NaN")
        device = device_of_rows(found.device)
        predicted += [embedding.classify(found).to(device)] if embedding.label_names else []
        rows.append(found.to(device).double())
        labels.append(label.to(device))
        seen += len(label)
    if not rows:
        raise ValueError(f"{embedding.name}: no clips to embed")
    return Embedded(torch.cat(rows), torch.cat(labels), torch.cat(predicted) if predicted else None)


def device_of_rows(device: torch.device) -> torch.device:
    """Return the device for the rows of clips on a device: the same, or the CPU if it has no float64 (MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


def clips_for(embedding: Embedding, spec: Tensor, transform: SpectrogramTransform) -> Tensor:
    """Convert clips to the input of an embedding.

    Args:
        embedding: Takes spectrograms or audio.
        spec: float [B, C, F, L] of `transform`; values are clamped to [-1, 1].
        transform: The spectrogram definition of the clips.

    Returns:
        Spectrograms of the embedding's transform, float [B, C, F', L'], or audio, float [B, 1, T].
    """
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
