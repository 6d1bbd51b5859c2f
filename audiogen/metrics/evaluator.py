"""Score a generator: every metric in every embedding, overall and per class, next to the scores of real clips."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from audiogen.distributed import num_processes, process_rank, rank_batches
from audiogen.metrics.coherence import Coherence
from audiogen.metrics.diversity import DIVERSITY_MIN, Diversity, Spread, Vendi
from audiogen.metrics.embeddings.embedding import Batches, Embedded, Embedding, embed
from audiogen.metrics.frechet import FrechetDistance, FrechetInfinity
from audiogen.metrics.kernel import KernelDistance
from audiogen.metrics.metric import EmbeddingMetric
from audiogen.metrics.neighbours import Neighbours
from audiogen.scalars import Scalar
from audiogen.transforms.transform import SpectrogramTransform

Embed = Callable[[Embedding, Batches, SpectrogramTransform], Embedded]


@dataclass(frozen=True)
class DatasetView:
    """Real clips that can be iterated over repeatedly. Spectrograms are loaded on demand.

    Attributes:
        take: Returns spec, float32 [B, C, F, L], for indices int64 [B].
        label: int64 [N].
        indices: Indices of the clips in the view, int64 [M]; all clips by default.
        batch_size: Clips per batch.
    """

    take: Callable[[Tensor], Tensor]
    label: Tensor
    indices: Tensor | None = None
    batch_size: int = 64

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of spec, float32 [B, C, F, L], and label, int64 [B]."""
        indices = torch.arange(len(self.label)) if self.indices is None else self.indices
        for part in indices.split(self.batch_size):
            yield self.take(part), self.label[part]

    def of_classes(self, counts: Tensor) -> "DatasetView":
        """Return a fixed random selection of up to `counts` clips per class, int64 [K]."""
        order = torch.randperm(len(self.label), generator=torch.Generator().manual_seed(0))
        chosen = [order[self.label[order] == index][:num] for index, num in enumerate(counts.tolist())]
        return replace(self, indices=torch.cat(chosen))


def view_on(device: torch.device | str, clips: Any) -> DatasetView:
    """Return a view of a data module's split that moves its clips to a device."""
    return DatasetView(lambda rows: clips.take(rows).to(device), clips.label)


def clips_per_class(num_clips: int, label: Tensor, num_classes: int) -> Tensor:
    """Distribute clips over classes in the proportions of the real ones, so that proportions do not affect distances.

    Args:
        num_clips: Total number of clips; rounding changes it slightly.
        label: Classes of the real clips, int64 [N].
        num_classes: K, at least 1.

    Returns:
        int64 [K]: at least 2 clips for each class with real clips, and 0 for the others.

    Example:
        >>> clips_per_class(100, torch.tensor([0, 0, 0, 1]), 3)
        tensor([75, 25,  0])
    """
    real = label.bincount(minlength=num_classes)
    return (num_clips * real / real.sum()).round().long().clamp_min(2) * (real > 0)


def default_metrics(embedding: Embedding) -> list[EmbeddingMetric]:
    """Return the metrics that are computed in every embedding."""
    kernel = KernelDistance("gaussian" if embedding.kind == "a" else "polynomial")
    return [FrechetDistance(), FrechetInfinity(), kernel, Neighbours(), Diversity(), Spread(), Vendi()]


class Evaluator:
    """Score generated clips against real ones.

    A score is named after its metric and its embedding: fad_classifier, coverage_vggish. The score of one class ends
    in the class: fad_classifier/zero. Real training clips, as many as are generated, score the reference, with the
    suffix _floor for distances and _real for other scores: a generator cannot be expected to score better. `fad` and
    `fad_floor` repeat the scores of the first audio embedding.

    Args:
        embeddings: At least one, with distinct names.
        transform: The spectrogram definition of the clips.
        label_names: Class names in index order; empty without classes.
        num_clips: Number of clips to generate, at least 2. The classes have the proportions of the real clips.
        device: Device of the embeddings.
        extra_metrics: Metrics in addition to `default_metrics`.

    Raises:
        ValueError: If `num_clips` is below 2, there is no embedding, or two embeddings share a name.
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
            raise ValueError(f"need embeddings with distinct names, got {names or 'none'}")
        self.embeddings = [embedding.eval().to(device) for embedding in embeddings]
        self.transform, self.label_names = transform, list(label_names)
        self.num_clips, self.extra_metrics = num_clips, extra_metrics
        self.counts = torch.zeros(max(len(label_names), 1), dtype=torch.long)
        self.notes: list[str] = []
        self.real: dict[str, float] = {}
        self._panels: list[_Panel] = []

    @property
    def wanted(self) -> tuple[Tensor, Tensor]:
        """Class of each clip to generate and its index within the class, int64 [N]; empty before `set_real`."""
        label = torch.arange(len(self.counts)).repeat_interleave(self.counts)
        return label, torch.cat([torch.arange(num) for num in self.counts.tolist()])

    @property
    def scalars(self) -> list[Scalar]:
        """Descriptions of all scores: metric by metric, each in all embeddings."""
        metrics = [[*default_metrics(embedding), *self.extra_metrics] for embedding in self.embeddings]
        first = [embedding.full_name("fad") for embedding in self.embeddings if embedding.kind == "a"][:1]
        found = [replace(FrechetDistance.scalars[0], headline=True, alias_of=name) for name in first]
        found += [*Coherence.scalars, Coherence.scalars[0].per_class()]
        for same in zip(*metrics, strict=True):
            for embedding, metric in zip(self.embeddings, same, strict=True):
                for scalar in metric.scalars:
                    full = replace(scalar, name=embedding.full_name(scalar.name))
                    found += [full, full.per_class()] if metric.per_class else [full]
        return [*found, *(replace(DIVERSITY_MIN, name=each.full_name(DIVERSITY_MIN.name)) for each in self.embeddings)]

    def set_real(self, reference: DatasetView, train: DatasetView, embedder: Embed = embed) -> None:
        """Embed real clips and compute the reference scores.

        Args:
            reference: Validation or test clips, which generated clips are compared with.
            train: Training clips, which score the reference: as many per class as are generated, if there are enough.
            embedder: Replaces `embed`, to cache rows for example.

        Raises:
            ValueError: If a metric needs more clips.
        """
        self.counts = clips_per_class(self.num_clips, reference.label, len(self.counts))
        sample = train.of_classes(self.counts)
        self.notes, self.real, self._panels = [], {}, []
        if missing := [name for name, num in zip(self.label_names, self.counts.tolist(), strict=False) if not num]:
            self.notes.append(f"no clips of {', '.join(missing)} are generated, because there are no real ones")
        for embedding in self.embeddings:
            real = embedder(embedding, reference, self.transform)
            metrics = [*default_metrics(embedding), *self.extra_metrics]
            panel = _Panel(embedding, metrics, self.label_names, real, self.counts)
            known = embedder(embedding, sample, self.transform)
            panel.update(_slice_of_rank(known))
            self.real |= panel.compute_reference(known.label)
            if panel.coherence is not None and real.predicted is not None:
                self.real["coherence_real"] = float((real.predicted == real.label).double().mean())
            self.notes += [embedding.describe(self.transform), *panel.notes]
            self._panels.append(panel)
        self._add_short_names(self.real)

    def update(self, batches: Batches) -> None:
        """Add this process's generated clips, in batches of spec [B, C, F, L] and label [B]."""
        seen = 0
        for spec, label in batches:
            for panel in self._panels:
                panel.update(embed(panel.embedding, [(spec, label)], self.transform, seen))
            seen += len(label)

    def compute(self) -> dict[str, float]:
        """Return the scores of the clips added since the last call, over all processes, and the reference scores."""
        scores: dict[str, float] = {}
        for panel in self._panels:
            scores |= panel.compute()
        self._add_short_names(scores)
        return scores | self.real

    def names(self) -> set[str]:
        """Return the names of all scores that `compute` returns; empty before `set_real`."""
        found = dict.fromkeys({name for panel in self._panels for name in panel.names()}, 0.0)
        self._add_short_names(found)
        return found.keys() | self.real.keys()

    def _add_short_names(self, scores: dict[str, float]) -> None:
        names = [embedding.full_name("fad") for embedding in self.embeddings if embedding.kind == "a"]
        for suffix in ("", "_floor"):
            if names and names[0] + suffix in scores:
                scores[f"fad{suffix}"] = scores[names[0] + suffix]


class _Panel:
    """All metrics in one embedding, over all clips and over the clips of each class."""

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
            self.notes.append(f"no {kind} for {len(names)} of {len(label_names)} classes, such as {names[0]}")
        knows = len(label_names) > 1 and list(embedding.label_names) == list(label_names)
        self.coherence = Coherence(len(label_names)).to(real.rows.device) if knows else None
        if embedding.label_names and not knows:
            self.notes.append(f"no coherence: {embedding.name} was trained on other classes, or in another order")

    def update(self, found: Embedded) -> None:
        """Add embedded clips."""
        for index, metric in self.metrics:
            metric.update(found.rows if index is None else found.rows[found.label == index])  # no rows too: ranks agree
        if self.coherence is not None and found.predicted is not None:
            self.coherence.update(found.predicted, found.label)

    def compute(self) -> dict[str, float]:
        """Return the scores by their full names, and reset the metrics."""
        scores: dict[str, float] = {}
        for index, metric in self.metrics:
            found = _named(metric, metric.compute())
            scores |= {self._full_name(scalar.name, index): value for scalar, value in found.items()}
            metric.reset()
        if self.coherence is not None:
            scores |= self._coherence()
            self.coherence.reset()
        of_classes = [value for name, value in scores.items() if name.startswith(f"{self._full_name('diversity')}/")]
        if of_classes:
            scores[self._full_name(DIVERSITY_MIN.name)] = min(of_classes)
        return scores

    def compute_reference(self, label: Tensor) -> dict[str, float]:
        """Return the scores of real clips under the names of the references, and reset the metrics.

        Args:
            label: Classes of the clips of all processes, int64 [N]. Scores that need more clips are left out.
        """
        scores: dict[str, float] = {}
        for index, metric in self.metrics:
            num = len(label) if index is None else int((label == index).sum())
            enough = num >= metric.minimum_rows(self.embedding.num_features)
            for scalar, value in _named(metric, metric.compute()).items() if enough else ():
                if name := scalar.reference_name(self._full_name(scalar.name, index)):
                    scores[name] = value
            metric.reset()
        if self.coherence is not None:
            self.coherence.reset()
        return scores

    def names(self) -> set[str]:
        """Return the names of all scores that `compute` returns."""
        found = {self._full_name(scalar.name, index) for index, metric in self.metrics for scalar in metric.scalars}
        if any(name.startswith(f"{self._full_name('diversity')}/") for name in found):
            found.add(self._full_name(DIVERSITY_MIN.name))
        if self.coherence is not None:
            found |= {scalar.name for scalar in Coherence.scalars}
            found |= {f"coherence/{name}" for name in self.label_names}
        return found

    def _full_name(self, name: str, index: int | None = None) -> str:
        return self.embedding.full_name(name) + ("" if index is None else f"/{self.label_names[index]}")

    def _coherence(self) -> dict[str, float]:
        assert self.coherence is not None
        found = self.coherence.compute()
        each = zip(self.label_names, found["coherence_of"], strict=True)
        overall = {scalar.name: float(found[scalar.name]) for scalar in Coherence.scalars}
        return overall | {f"coherence/{name}": float(value) for name, value in each}


def _named(metric: EmbeddingMetric, found: Mapping[str, Tensor]) -> dict[Scalar, float]:
    """Return the scores of a metric by their descriptions.

    Raises:
        ValueError: If the metric returned other scores than it describes.
    """
    if found.keys() != {scalar.name for scalar in metric.scalars}:
        described = ", ".join(scalar.name for scalar in metric.scalars) or "nothing"
        raise ValueError(
            f"{type(metric).__name__}.compute returned {', '.join(found) or 'nothing'}, but its scalars describe "
            f"{described}"
        )
    return {scalar: float(found[scalar.name]) for scalar in metric.scalars}


def _slice_of_rank(found: Embedded) -> Embedded:
    """Return this rank's slice of clips that every process has embedded; `compute` gathers the slices."""
    num = len(found.label)
    own = next(rank_batches(num, num, process_rank(), num_processes())).to(found.label.device)
    return Embedded(found.rows[own], found.label[own], None if found.predicted is None else found.predicted[own])


def _too_few(metric: EmbeddingMetric, embedding: Embedding, num_real: int, num_generated: int) -> str:
    """Return the reason why there are too few clips for a metric; empty if there are enough."""
    least = metric.minimum_rows(embedding.num_features)
    if min(num_real, num_generated) >= least:
        return ""
    return (
        f"{type(metric).__name__} in {embedding.num_features} features needs {least} clips, got {num_real} real and "
        f"{num_generated} generated ones: increase num_clips, use a larger split, or an embedding with fewer features"
    )
