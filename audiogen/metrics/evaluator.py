"""All metrics of a generator: embeddings times metrics, overall and for each class, beside those of real clips."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from audiogen.metrics.coherence import Coherence
from audiogen.metrics.diversity import Diversity, Spread, Vendi
from audiogen.metrics.embeddings.embedding import Batches, Embedded, Embedding, embed
from audiogen.metrics.frechet import FrechetDistance, FrechetInfinity
from audiogen.metrics.kernel import KernelDistance
from audiogen.metrics.metric import EmbeddingMetric
from audiogen.metrics.neighbours import Neighbours
from audiogen.transforms.transform import SpectrogramTransform

Embed = Callable[[Embedding, Batches, SpectrogramTransform], Embedded]


@dataclass(frozen=True)
class DatasetView:
    """Real clips that can be gone through more than once: spectrograms on demand, and classes.

    Attributes:
        take: Returns spec, float32 [B, C, F, L], of indices int64 [B].
        label: int64 [N].
        indices: The clips that are meant, int64 [M]; all by default.
        batch_size: How many are taken at once.
    """

    take: Callable[[Tensor], Tensor]
    label: Tensor
    indices: Tensor | None = None
    batch_size: int = 64

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield spec and label of the clips in batches."""
        indices = torch.arange(len(self.label)) if self.indices is None else self.indices
        for part in indices.split(self.batch_size):
            yield self.take(part), self.label[part]

    def of_classes(self, counts: Tensor) -> "DatasetView":
        """Return up to `counts` clips of each class, int64 [K], drawn once and for all."""
        order = torch.randperm(len(self.label), generator=torch.Generator().manual_seed(0))
        chosen = [order[self.label[order] == index][:num] for index, num in enumerate(counts.tolist())]
        return replace(self, indices=torch.cat(chosen))


def view_on(device: torch.device | str, clips: Any) -> DatasetView:
    """Return the clips of a data module's split, to be taken to a device."""
    return DatasetView(lambda rows: clips.take(rows).to(device), clips.label)


def share_out(num_clips: int, label: Tensor, num_classes: int) -> Tensor:
    """Share clips out among classes as real ones are: other shares would count as a difference.

    Args:
        num_clips: In all.
        label: int64 [N], of real clips.
        num_classes: K, at least 1.

    Returns:
        int64 [K]: at least 2 of each class that there are real clips of, and none of others.

    Example:
        >>> share_out(100, torch.tensor([0, 0, 0, 1]), 3)
        tensor([75, 25,  0])
    """
    real = label.bincount(minlength=num_classes)
    return (num_clips * real / real.sum()).round().long().clamp_min(2) * (real > 0)


def default_metrics(embedding: Embedding) -> list[EmbeddingMetric]:
    """Return the metrics that are always computed."""
    kernel = KernelDistance("gaussian" if embedding.kind == "a" else "polynomial")
    return [FrechetDistance(), FrechetInfinity(), kernel, Neighbours(), Diversity(), Spread(), Vendi()]


class Evaluator:
    """Score generated clips against real ones.

    Names of metrics are those of the metrics with the embedding's: fad_classifier, coverage_vggish; of one class
    fad_classifier/zero. The score of real training clips in the same number has the suffix _floor (of distances) or
    _real: nothing better can be asked for. `fad` and `fad_floor` repeat those of the first embedding of sounds.

    Args:
        embeddings: At least one; names must differ.
        transform: The spectrogram definition of the clips.
        label_names: Class names in index order, empty without classes.
        num_clips: To be generated, of each class as large a share as of the real ones. As many training clips score the
            floor.
        device: Where the embeddings go.
        extra_metrics: Metrics beside the default ones.

    Raises:
        ValueError: For less than two clips, no embedding, or two of one name.
    """

    def __init__(
        self,
        embeddings: Sequence[Embedding],
        transform: SpectrogramTransform,
        label_names: Sequence[str],
        num_clips: int,
        device: torch.device | str = "cpu",
        extra_metrics: Sequence[EmbeddingMetric] = (),
    ) -> None:
        names = [embedding.name for embedding in embeddings]
        if num_clips < 2:
            raise ValueError(f"need at least two clips, got {num_clips}")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"need embeddings of different names, got {names or 'none'}")
        self.embeddings = [embedding.eval().to(device) for embedding in embeddings]
        self.transform, self.label_names = transform, list(label_names)
        self.num_clips, self.extra_metrics = num_clips, extra_metrics
        self.counts = torch.zeros(max(len(label_names), 1), dtype=torch.long)
        self.notes: list[str] = []
        self.real: dict[str, float] = {}
        self._panels: list[_Panel] = []

    @property
    def wanted(self) -> tuple[Tensor, Tensor]:
        """Class of each clip to make, and its number within the class, int64 [N]; known once there are real ones."""
        label = torch.arange(len(self.counts)).repeat_interleave(self.counts)
        return label, torch.cat([torch.arange(num) for num in self.counts.tolist()])

    def set_real(self, reference: DatasetView, train: DatasetView, embedder: Embed = embed) -> None:
        """Embed real clips and compute what real training clips score.

        Args:
            reference: What generated clips are compared with: of the validation or the test split.
            train: As many of each class as are generated, or all there are, score the floor.
            embedder: Embeds; one with a cache saves time.

        Raises:
            ValueError: Where there are too few clips to tell anything.
        """
        self.counts = share_out(self.num_clips, reference.label, len(self.counts))
        sample = train.of_classes(self.counts)
        self.notes, self.real, self._panels = [], {}, []
        if missing := [name for name, num in zip(self.label_names, self.counts.tolist(), strict=False) if not num]:
            self.notes.append(f"no real clips of {', '.join(missing)}: none are made")
        for embedding in self.embeddings:
            real = embedder(embedding, reference, self.transform)
            metrics = [*default_metrics(embedding), *self.extra_metrics]
            panel = _Panel(embedding, metrics, self.label_names, real, self.counts)
            known = embedder(embedding, sample, self.transform)
            panel.update(_share(known))
            self.real |= panel.compute(of_real=known.label)
            if panel.coherence is not None and real.predicted is not None:
                self.real["coherence_real"] = float((real.predicted == real.label).double().mean())
            self.notes += [embedding.describe(self.transform), *panel.notes]
            self._panels.append(panel)
        self._add_short_names(self.real)

    def update(self, batches: Batches) -> None:
        """Add generated clips, those of this process, in batches of spec [B, C, F, L] and label [B]."""
        seen = 0
        for spec, label in batches:
            for panel in self._panels:
                panel.update(embed(panel.embedding, [(spec, label)], self.transform, seen))
            seen += len(label)

    def compute(self) -> dict[str, float]:
        """Return all metrics of the clips added since the last call, over all processes, and those of real ones."""
        scores: dict[str, float] = {}
        for panel in self._panels:
            scores |= panel.compute()
        self._add_short_names(scores)
        return scores | self.real

    def names(self) -> set[str] | None:
        """Return the names of all that `compute` returns, once real clips are known.

        None where a metric had too few training clips to be computed, and so to give its names.
        """
        if not all(panel.names_known for panel in self._panels):
            return None
        found = dict.fromkeys({name for panel in self._panels for name in panel.names}, 0.0)
        self._add_short_names(found)
        return found.keys() | self.real.keys()

    def _add_short_names(self, scores: dict[str, float]) -> None:
        names = [embedding.full_name("fad") for embedding in self.embeddings if embedding.kind == "a"]
        for suffix in ("", "_floor"):
            if names and names[0] + suffix in scores:
                scores[f"fad{suffix}"] = scores[names[0] + suffix]


class _Panel:
    """All metrics in one embedding: of all clips, and of those of each class."""

    def __init__(
        self,
        embedding: Embedding,
        metrics: Sequence[EmbeddingMetric],
        label_names: Sequence[str],
        real: Embedded,
        counts: Tensor,
    ) -> None:
        self.embedding, self.label_names = embedding, label_names
        self.metrics: list[tuple[int | None, EmbeddingMetric]] = []  # class index, None for all clips
        self.notes: list[str] = []
        self.names: set[str] = set()  # of what generated clips score
        self.names_known = True
        skipped: dict[str, list[str]] = {}
        classes = enumerate(label_names) if len(label_names) > 1 else ()
        for index, name in [(None, ""), *classes]:
            rows = real.rows if index is None else real.rows[real.label == index]
            num_generated = int(counts.sum() if index is None else counts[index])
            for metric in metrics:
                few = _too_few(metric, embedding, len(rows), num_generated)
                if few and index is None:
                    raise ValueError(few)
                if few and metric.per_class:
                    skipped.setdefault(type(metric).__name__, []).append(f"{name} ({few})")
                elif index is None or metric.per_class:
                    own = deepcopy(metric).to(rows.device)
                    own.set_real(rows)
                    self.metrics.append((index, own))
        for kind, names in skipped.items():
            self.notes.append(f"no {kind} of {len(names)} of {len(label_names)} classes, such as {names[0]}")
        knows = len(label_names) > 1 and list(embedding.label_names) == list(label_names)
        self.coherence = Coherence(len(label_names)).to(real.rows.device) if knows else None
        if knows:
            self.names |= {"coherence", "class_entropy", *(f"coherence/{name}" for name in label_names)}
        if embedding.label_names and not knows:
            self.notes.append(f"{embedding.name} was trained on other classes, or in another order: no coherence")

    def update(self, found: Embedded) -> None:
        """Add embedded clips."""
        for index, metric in self.metrics:
            metric.update(found.rows if index is None else found.rows[found.label == index])  # no rows too: ranks agree
        if self.coherence is not None and found.predicted is not None:
            self.coherence.update(found.predicted, found.label)

    def compute(self, of_real: Tensor | None = None) -> dict[str, float]:
        """Return metrics by their full names, and start anew.

        Args:
            of_real: Classes, int64 [N], of the clips, where they were real ones: metrics are named so, those of too few
                clips are left out, and nobody asks for their coherence.
        """
        scores: dict[str, float] = {}
        for index, metric in self.metrics:
            ending = "" if index is None else f"/{self.label_names[index]}"
            enough = True
            if of_real is not None:
                num = len(of_real) if index is None else int((of_real == index).sum())
                enough = num >= metric.minimum_rows(self.embedding.num_features)
                ending = f"_{metric.reference}{ending}"
            found = metric.compute() if enough else {}
            metric.reset()
            if of_real is not None:
                plain = "" if index is None else f"/{self.label_names[index]}"
                self.names |= {self.embedding.full_name(name) + plain for name in found}
                self.names_known = self.names_known and enough
            scores |= {self.embedding.full_name(name) + ending: float(x) for name, x in found.items()}
        if self.coherence is not None:
            scores |= {} if of_real is not None else self._coherence()
            self.coherence.reset()
        if any(name.startswith("diversity") and "/" in name for name in self.names):
            self.names.add(self.embedding.full_name("diversity_min"))
        least = [x for name, x in scores.items() if name.startswith("diversity") and "/" in name]
        if least and of_real is None:
            scores[self.embedding.full_name("diversity_min")] = min(least)
        return scores

    def _coherence(self) -> dict[str, float]:
        assert self.coherence is not None
        found = self.coherence.compute()
        each = {f"coherence/{name}": float(x) for name, x in zip(self.label_names, found["coherence_of"], strict=True)}
        return {name: float(found[name]) for name in ("coherence", "class_entropy")} | each


def _share(found: Embedded) -> Embedded:
    """Return this process's share of what every process has: `compute` puts the shares together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return found
    own = slice(torch.distributed.get_rank(), None, torch.distributed.get_world_size())
    return Embedded(found.rows[own], found.label[own], None if found.predicted is None else found.predicted[own])


def _too_few(metric: EmbeddingMetric, embedding: Embedding, num_real: int, num_generated: int) -> str:
    """Say why there are too few clips for a metric; nothing where there are enough."""
    least = metric.minimum_rows(embedding.num_features)
    if min(num_real, num_generated) >= least:
        return ""
    return (
        f"{type(metric).__name__} in {embedding.num_features} features needs {least} clips, there are {num_real} real "
        f"and {num_generated} generated ones: take more (num_clips, a larger validation split) or an embedding of "
        "fewer features"
    )
