"""All figures of a generator: embeddings times metrics, overall and for each class, beside those of real clips."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

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
class Clips:
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

    def of_each_class(self, num: int) -> "Clips":
        """Return up to `num` clips of each class, drawn once and for all."""
        order = torch.randperm(len(self.label), generator=torch.Generator().manual_seed(0))
        chosen = [order[self.label[order] == index][:num] for index in self.label.unique()]
        return replace(self, indices=torch.cat(chosen))


def default_metrics(embedding: Embedding) -> list[EmbeddingMetric]:
    """Return the metrics that are always computed."""
    kernel = KernelDistance("gaussian" if embedding.kind == "a" else "polynomial")
    return [FrechetDistance(), FrechetInfinity(), kernel, Neighbours(), Diversity(), Spread(), Vendi()]


class Judge:
    """Score generated clips against real ones.

    Names of figures are those of the metrics with the embedding's: fad_classifier, coverage_vggish; of one class
    fad_classifier/zero. The score of real training clips in the same number has the suffix _floor (of distances) or
    _real: nothing better can be asked for. `fad` and `fad_floor` repeat those of the first embedding.

    Args:
        embeddings: At least one; names must differ.
        transform: The spectrogram definition of the clips.
        label_names: Class names in index order, empty without classes.
        num_clips: To be generated, the same number of each class. As many training clips score the floor.
        device: Where the embeddings go.
        extra_metrics: Metrics beside the default ones.

    Raises:
        ValueError: For less than two clips of each class, no embedding, or two of one name.
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
        self.num_per_class = num_clips // max(len(label_names), 1)
        if self.num_per_class < 2:
            raise ValueError(f"{num_clips} clips are less than two of each of {len(label_names) or 1} classes")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"need embeddings of different names, got {names or 'none'}")
        self.embeddings = [embedding.eval().to(device) for embedding in embeddings]
        self.transform, self.label_names = transform, list(label_names)
        self.extra_metrics = extra_metrics
        self.notes: list[str] = []
        self.real: dict[str, float] = {}
        self._panels: list[_Panel] = []

    @property
    def label(self) -> Tensor:
        """Classes of the clips to generate, int64 [N]: those of one class together."""
        return torch.arange(max(len(self.label_names), 1)).repeat_interleave(self.num_per_class)

    def set_real(self, reference: Clips, train: Clips, embedder: Embed = embed) -> None:
        """Embed real clips and compute what real training clips score.

        Args:
            reference: What generated clips are compared with: of the validation or the test split.
            train: As many of each class as are generated, or all there are, score the floor.
            embedder: Embeds; one with a memory saves time.

        Raises:
            ValueError: Where there are too few clips to tell anything.
        """
        sample = train.of_each_class(self.num_per_class)
        self.notes, self.real, self._panels = [], {}, []
        for embedding in self.embeddings:
            real = embedder(embedding, reference, self.transform)
            metrics = [*default_metrics(embedding), *self.extra_metrics]
            panel = _Panel(embedding, metrics, self.label_names, real, self.num_per_class)
            panel.update(_share(embedder(embedding, sample, self.transform)))
            self.real |= panel.compute(real=True)
            if real.predicted is not None:
                self.real["coherence_real"] = float((real.predicted == real.label).double().mean())
            self.notes += [embedding.describe(self.transform), *panel.notes]
            self._panels.append(panel)
        self._add_short_names(self.real)

    def update(self, batches: Batches) -> None:
        """Add generated clips, those of this process, in batches of spec [B, C, F, L] and label [B]."""
        for batch in batches:
            for panel in self._panels:
                panel.update(embed(panel.embedding, [batch], self.transform))

    def compute(self) -> dict[str, float]:
        """Return all figures of the clips added since the last call, over all processes, and those of real ones."""
        figures: dict[str, float] = {}
        for panel in self._panels:
            figures |= panel.compute()
        self._add_short_names(figures)
        return figures | self.real

    def _add_short_names(self, figures: dict[str, float]) -> None:
        for suffix in ("", "_floor"):
            long = self._panels[0].embedding.full_name("fad") + suffix
            if long in figures:
                figures[f"fad{suffix}"] = figures[long]


class _Panel:
    """All metrics in one embedding: of all clips, and of those of each class."""

    def __init__(
        self,
        embedding: Embedding,
        metrics: Sequence[EmbeddingMetric],
        label_names: Sequence[str],
        real: Embedded,
        num_per_class: int,
    ) -> None:
        self.embedding, self.label_names = embedding, label_names
        self.metrics: list[tuple[int | None, EmbeddingMetric]] = []  # class index, None for all clips
        self.notes: list[str] = []
        skipped: dict[str, list[str]] = {}
        classes = enumerate(label_names) if len(label_names) > 1 else ()
        for index, name in [(None, ""), *classes]:
            rows = real.rows if index is None else real.rows[real.label == index]
            num_generated = num_per_class * max(len(label_names), 1) if index is None else num_per_class
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
        if embedding.label_names and not knows:
            self.notes.append(f"{embedding.name} was trained on other classes than the data's: no coherence")

    def update(self, found: Embedded) -> None:
        """Add embedded clips."""
        for index, metric in self.metrics:
            rows = found.rows if index is None else found.rows[found.label == index]
            if len(rows):
                metric.update(rows)
        if self.coherence is not None and found.predicted is not None:
            self.coherence.update(found.predicted, found.label)

    def compute(self, real: bool = False) -> dict[str, float]:
        """Return figures by their full names, and start anew.

        Args:
            real: The clips were real ones: their figures are named so, and nobody asks for their coherence.
        """
        figures: dict[str, float] = {}
        for index, metric in self.metrics:
            ending = f"_{metric.reference}" if real else ""
            ending += "" if index is None else f"/{self.label_names[index]}"
            figures |= {self.embedding.full_name(name) + ending: float(x) for name, x in metric.compute().items()}
            metric.reset()
        if self.coherence is not None:
            figures |= {} if real else self._coherence()
            self.coherence.reset()
        least = [x for name, x in figures.items() if name.startswith("diversity") and "/" in name]
        if least and not real:
            figures[self.embedding.full_name("diversity_min")] = min(least)
        return figures

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
