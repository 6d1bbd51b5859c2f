"""Score converted clips: reached target, preserved content, and distance to real clips of the target."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from audiogen.capabilities import Converts
from audiogen.metrics.embeddings.embedding import Embedded, Embedding, embed
from audiogen.metrics.evaluator import DatasetView, Embed
from audiogen.metrics.frechet import FrechetDistance
from audiogen.scalars import QUALITY, Scalar
from audiogen.transforms.transform import SpectrogramTransform

BATCH = 64
# spec, float32 [B, C, F, L], index of the source clip, int64 [B], and target, int64 [B]
Conversions = Iterable[tuple[Tensor, Tensor, Tensor]]
_SCALARS = (
    Scalar("fad", QUALITY, higher_is_better=False, reference="floor", log_scale=True, headline=True),
    Scalar("fad_source", QUALITY, log_scale=True),
    Scalar("target_fraction", QUALITY, higher_is_better=True, reference="real", headline=True),
    Scalar("target_fraction_source", QUALITY),
    Scalar("content_kept", QUALITY, higher_is_better=True, headline=True),
    Scalar("success", QUALITY, higher_is_better=True),
)


class Task(NamedTuple):
    """Conversions to make.

    Attributes:
        source: Indices of the source clips, int64 [N].
        target: Domain that each is converted to, int64 [N].
    """

    source: Tensor
    target: Tensor


def all_conversions(label: Tensor, targets: Sequence[int]) -> Task:
    """Pair every clip with every target except its own domain.

    Args:
        label: Domains of the clips, int64 [N].
        targets: Indices of the domains to convert to.

    Example:
        >>> all_conversions(torch.tensor([0, 1, 1]), [0, 1])
        Task(source=tensor([1, 2, 0]), target=tensor([0, 0, 1]))
    """
    sources = [torch.nonzero(label != target)[:, 0] for target in targets]
    return Task(torch.cat(sources), torch.cat([torch.full_like(s, t) for s, t in zip(sources, targets, strict=True)]))


def convert_clips(model: Converts, clips: DatasetView, task: Task) -> Conversions:
    """Convert clips in batches.

    Args:
        model: Has a method `convert(spec, target) -> spec`.
        clips: The source clips.
        task: The conversions to make.

    Yields:
        spec, source and target of each batch, as in `Conversions`.
    """
    for rows in torch.arange(len(task.source)).split(BATCH):
        source, target = task.source[rows], task.target[rows]
        spec = model.convert(clips.take(source), target)
        yield spec, source, target.to(spec.device)


class ConversionEvaluator:
    """Score converted clips, next to the scores of source clips and of real clips of the target.

    Each score is the mean over the targets. With several targets, each target has its own score too: fad/nicolas.

    - `target_fraction`: fraction of converted clips that the domain classifier assigns to their target.
      `target_fraction_source` is the fraction of source clips, `target_fraction_real` of real clips of the target.
    - `content_kept`: fraction of clips whose predicted content class matches the source's.
    - `success`: fraction of clips that reach the target and keep the content, or only reach the target if there is no
      content classifier. Choose checkpoints by it: a model can reach the target by losing the content, or keep the
      content by changing nothing.
    - `fad`: Frechet distance to real clips of the target, in the features of the domain classifier. `fad_source` is the
      distance of the source clips, `fad_floor` of training clips of the target.

    Args:
        domain: Classifier of the domains. It may have further classes.
        content: Classifier of what a conversion should keep, such as words or notes; None to ignore the content.
        transform: The spectrogram definition of the clips.
        label_names: Names of the domains in index order.
        targets: Indices of the domains to convert to.
        device: Device of the embeddings.

    Raises:
        ValueError: If the domain classifier lacks a target, or the content classifier has no classes.
    """

    scalars = (*_SCALARS, *(scalar.per_class() for scalar in _SCALARS))

    def __init__(
        self,
        domain: Embedding,
        content: Embedding | None,
        transform: SpectrogramTransform,
        label_names: Sequence[str],
        targets: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        if unknown := [label_names[index] for index in targets if label_names[index] not in domain.label_names]:
            raise ValueError(
                f"{domain.name} has no class {', '.join(unknown)}; its classes are "
                f"{', '.join(domain.label_names) or 'none'}"
            )
        if content is not None and not content.label_names:
            raise ValueError(f"{content.name} has no classes, so it cannot compare contents")
        self.domain = domain.eval().to(device)
        self.content = None if content is None else content.eval().to(device)
        self.transform, self.label_names, self.targets = transform, list(label_names), list(targets)
        self._class_of = {index: list(domain.label_names).index(label_names[index]) for index in targets}
        self.real: dict[str, float] = {}

    def set_real(self, reference: DatasetView, train: DatasetView, embedder: Embed = embed) -> Task:
        """Embed real clips and compute the reference scores.

        Args:
            reference: Validation or test clips: the sources, and the real clips of the targets.
            train: Training clips of the targets, which score the floor: as many as there are reference clips.
            embedder: Replaces `embed`, to cache rows for example.

        Returns:
            The conversions to make.

        Raises:
            ValueError: If there are too few clips for a Frechet distance.
        """
        counts = reference.label.bincount(minlength=len(self.label_names))
        counts[[index for index in range(len(counts)) if index not in self.targets]] = 0
        real = embedder(self.domain, reference, self.transform)
        known = embedder(self.domain, train.of_classes(counts), self.transform)
        self._content = None
        if self.content is not None:
            self._content = embedder(self.content, reference, self.transform).predicted
        device = real.rows.device
        names = ["target_fraction", "success", *(["content_kept"] if self.content is not None else [])]
        self._fractions = {name: {index: MeanMetric().to(device) for index in self.targets} for name in names}
        self._distances: dict[int, FrechetDistance] = {}
        found: dict[str, dict[int, float]] = {}
        for index in self.targets:
            self._distances[index] = self._distance_to(real.rows[real.label == index])
            for name, value in self._of_real(index, real, known).items():
                found.setdefault(name, {})[index] = value
        self.real = self._named(found)
        return all_conversions(reference.label, self.targets)

    def _of_real(self, index: int, real: Embedded, known: Embedded) -> dict[str, float]:
        """Return the scores of source clips, and of real and training clips of a target.

        Raises:
            ValueError: If there are too few clips for a Frechet distance.
        """
        own, others = real.rows[real.label == index], real.rows[real.label != index]
        sample = known.rows[known.label == index]
        least = FrechetDistance().minimum_rows(self.domain.num_features)
        if min(len(own), len(others), len(sample)) < least:
            raise ValueError(
                f"a distance in {self.domain.num_features} features needs {least} clips, got {len(own)} real and "
                f"{len(sample)} training clips of {self.label_names[index]} and {len(others)} source clips: use a "
                "larger split, or a classifier with fewer features"
            )
        assert real.predicted is not None
        taken = (real.predicted == self._class_of[index]).double()
        found = {
            "target_fraction_source": float(taken[real.label != index].mean()),
            "target_fraction_real": float(taken[real.label == index].mean()),
        }
        for name, rows in (("fad_source", others), ("fad_floor", sample)):
            # Every process has all rows, so they must not be gathered.
            distance = self._distance_to(own, distributed_available_fn=lambda: False)
            distance.update(rows)
            found[name] = float(distance.compute()["fad"])
        return found

    @staticmethod
    def _distance_to(rows: Tensor, **settings: Any) -> FrechetDistance:
        """Return a metric of the distance to the rows of real clips, float64 [N, K, D]."""
        distance = FrechetDistance(**settings).to(rows.device)
        distance.set_real(rows)
        return distance

    @torch.no_grad()
    def update(self, conversions: Conversions) -> None:
        """Add this process's converted clips."""
        for spec, source, target in conversions:
            found = self._embed(self.domain, spec, target)
            assert found.predicted is not None
            classes = [self._class_of[index] for index in found.label.tolist()]
            wanted = torch.tensor(classes, device=found.predicted.device)
            met = {"target_fraction": found.predicted == wanted}
            if self.content is not None and self._content is not None:
                predicted = self._embed(self.content, spec, target).predicted
                assert predicted is not None
                met["content_kept"] = predicted == self._content[source.to(predicted.device)]
            met["success"] = torch.stack(list(met.values())).all(dim=0)
            for index in self.targets:
                chosen = found.label == index
                if chosen.any():
                    self._distances[index].update(found.rows[chosen])
                    for name, metrics in self._fractions.items():
                        metrics[index].update(met[name][chosen].double())

    def compute(self) -> dict[str, float]:
        """Return the scores over all processes, and reset the metrics."""
        found = {"fad": {index: float(metric.compute()["fad"]) for index, metric in self._distances.items()}}
        for name, metrics in self._fractions.items():
            found[name] = {index: float(metric.compute()) for index, metric in metrics.items()}
        for metric in (
            *self._distances.values(),
            *(x for by_target in self._fractions.values() for x in by_target.values()),
        ):
            metric.reset()
        return self._named(found) | self.real

    def names(self) -> set[str]:
        """Return the names of all scores that `compute` returns, after `set_real`."""
        found = {name: dict.fromkeys(self.targets, 0.0) for name in ("fad", *self._fractions)}
        return self._named(found).keys() | self.real.keys()

    def _embed(self, embedding: Embedding, spec: Tensor, label: Tensor) -> Embedded:
        return embed(embedding, [(spec, label)], self.transform)

    def _named(self, found: dict[str, dict[int, float]]) -> dict[str, float]:
        """Return the means over the targets and, with several targets, the scores of each."""
        scores = {name: sum(by_target.values()) / len(by_target) for name, by_target in found.items()}
        if len(self.targets) > 1:
            for name, by_target in found.items():
                scores |= {f"{name}/{self.label_names[index]}": value for index, value in by_target.items()}
        return scores
