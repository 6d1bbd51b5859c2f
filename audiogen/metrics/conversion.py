"""What converted clips are worth: taken for the target, the same content, and how far from real clips of the target."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from audiogen.metrics.embeddings.embedding import Embedded, Embedding, embed
from audiogen.metrics.evaluator import DatasetView, Embed
from audiogen.metrics.frechet import FrechetDistance
from audiogen.transforms.transform import SpectrogramTransform

BATCH = 64
Conversions = Iterable[
    tuple[Tensor, Tensor, Tensor]
]  # spec, float32 [B, C, F, L], number of the source, target: int64 [B]


class Task(NamedTuple):
    """What is to be converted.

    Attributes:
        source: Numbers of clips, int64 [N].
        target: Their targets, int64 [N].
    """

    source: Tensor
    target: Tensor


def all_conversions(label: Tensor, targets: Sequence[int]) -> Task:
    """Return every clip, int64 [N] of domains, to every target but its own domain.

    Example:
        >>> all_conversions(torch.tensor([0, 1, 1]), [0, 1])
        Task(source=tensor([1, 2, 0]), target=tensor([0, 0, 1]))
    """
    sources = [torch.nonzero(label != target)[:, 0] for target in targets]
    return Task(torch.cat(sources), torch.cat([torch.full_like(s, t) for s, t in zip(sources, targets, strict=True)]))


def convert_clips(model: Any, clips: DatasetView, task: Task) -> Conversions:
    """Yield conversions by a model that has a method `convert(spec, target) -> spec`."""
    for rows in torch.arange(len(task.source)).split(BATCH):
        source, target = task.source[rows], task.target[rows]
        spec = model.convert(clips.take(source), target)
        yield spec, source, target.to(spec.device)


class ConversionEvaluator:
    """Score converted clips beside what real clips score.

    Figures:
        target_share: Share of converted clips that the domain classifier takes for their target, beside
            `target_share_source` (of their sources) and `target_share_real` (of real clips of the target).
        content_kept: Share of which the content classifier says what it says of the source.
        success: Share of which both hold, or the first alone without a content classifier: what a checkpoint is chosen
            by, since a model may reach the target by forgetting what was said, or keep it by changing nothing.
        fad: Frechet distance to real clips of the target in the domain classifier's features, beside `fad_source`, the
            sources' own, and `fad_floor`, that of training clips of the target.

    Each is the mean over the targets; with several, those of one have its name: fad/nicolas.

    Args:
        domain: A classifier of the domains; it may know others too.
        content: A classifier of what should stay, such as words or notes.
        transform: The spectrogram definition of the clips.
        label_names: The domains in index order.
        targets: Indices of those that are converted to.
        device: Where the embeddings go.

    Raises:
        ValueError: Where the domain classifier does not know a target, or the content classifier knows no classes.
    """

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
                f"{domain.name} cannot tell whether a clip is of {', '.join(unknown)}: it knows "
                f"{', '.join(domain.label_names) or 'no classes'}"
            )
        if content is not None and not content.label_names:
            raise ValueError(f"{content.name} knows no classes, so it cannot tell whether the content is the same")
        self.domain = domain.eval().to(device)
        self.content = None if content is None else content.eval().to(device)
        self.transform, self.label_names, self.targets = transform, list(label_names), list(targets)
        self.known = {index: list(domain.label_names).index(label_names[index]) for index in targets}
        self.real: dict[str, float] = {}

    def set_real(self, reference: DatasetView, train: DatasetView, embedder: Embed = embed) -> Task:
        """Embed real clips.

        Args:
            reference: Sources, and what converted clips are compared with: of the validation or the test split.
            train: As many of each target as there are reference clips score the floor.
            embedder: Embeds; one with a cache saves time.

        Returns:
            What is to be converted.

        Raises:
            ValueError: Where there are too few clips to tell a distance.
        """
        counts = reference.label.bincount(minlength=len(self.label_names))
        counts[[index for index in range(len(counts)) if index not in self.targets]] = 0
        real = embedder(self.domain, reference, self.transform)
        known = embedder(self.domain, train.of_classes(counts), self.transform)
        self._content = None
        if self.content is not None:
            self._content = embedder(self.content, reference, self.transform).predicted
        device = real.rows.device
        names = ["target_share", "success", *(["content_kept"] if self.content is not None else [])]
        self._shares = {name: {index: MeanMetric().to(device) for index in self.targets} for name in names}
        self._distances: dict[int, FrechetDistance] = {}
        found: dict[str, dict[int, float]] = {}
        for index in self.targets:
            self._distances[index] = self._distance_to(real.rows[real.label == index])
            for name, value in self._of_real(index, real, known).items():
                found.setdefault(name, {})[index] = value
        self.real = self._named(found)
        return all_conversions(reference.label, self.targets)

    def _of_real(self, index: int, real: Embedded, known: Embedded) -> dict[str, float]:
        """Return what sources, real clips of a target, and training clips of it score.

        Raises:
            ValueError: Where there are too few of them.
        """
        own, others = real.rows[real.label == index], real.rows[real.label != index]
        sample = known.rows[known.label == index]
        least = FrechetDistance().minimum_rows(self.domain.num_features)
        if min(len(own), len(others), len(sample)) < least:
            raise ValueError(
                f"a distance in {self.domain.num_features} features needs {least} clips, there are {len(own)} of "
                f"{self.label_names[index]}, {len(sample)} of it to train on and {len(others)} to convert to it: take "
                "a larger split, or a classifier of fewer features"
            )
        assert real.predicted is not None
        taken = (real.predicted == self.known[index]).double()
        found = {
            "target_share_source": float(taken[real.label != index].mean()),
            "target_share_real": float(taken[real.label == index].mean()),
        }
        for name, rows in (("fad_source", others), ("fad_floor", sample)):
            # Every process has these rows, so nothing may be put together here.
            distance = self._distance_to(own, distributed_available_fn=lambda: False)
            distance.update(rows)
            found[name] = float(distance.compute()["fad"])
        return found

    @staticmethod
    def _distance_to(rows: Tensor, **settings: Any) -> FrechetDistance:
        """Return the distance to real clips, float64 [N, K, D]."""
        distance = FrechetDistance(**settings).to(rows.device)
        distance.set_real(rows)
        return distance

    @torch.no_grad()
    def update(self, conversions: Conversions) -> None:
        """Add converted clips, those of this process."""
        for spec, source, target in conversions:
            found = self._embed(self.domain, spec, target)
            assert found.predicted is not None
            wanted = torch.tensor([self.known[index] for index in found.label.tolist()], device=found.predicted.device)
            held = {"target_share": found.predicted == wanted}
            if self.content is not None and self._content is not None:
                heard = self._embed(self.content, spec, target).predicted
                assert heard is not None
                held["content_kept"] = heard == self._content[source.to(heard.device)]
            held["success"] = torch.stack(list(held.values())).all(dim=0)
            for index in self.targets:
                chosen = found.label == index
                if chosen.any():
                    self._distances[index].update(found.rows[chosen])
                    for name, metrics in self._shares.items():
                        metrics[index].update(held[name][chosen].double())

    def compute(self) -> dict[str, float]:
        """Return the metrics, and start anew."""
        found = {"fad": {index: float(metric.compute()["fad"]) for index, metric in self._distances.items()}}
        for name, metrics in self._shares.items():
            found[name] = {index: float(metric.compute()) for index, metric in metrics.items()}
        for metric in (*self._distances.values(), *(each for of in self._shares.values() for each in of.values())):
            metric.reset()
        return self._named(found) | self.real

    def names(self) -> set[str]:
        """Return the names of all that `compute` returns, once real clips are known."""
        found = {name: dict.fromkeys(self.targets, 0.0) for name in ("fad", *self._shares)}
        return self._named(found).keys() | self.real.keys()

    def _embed(self, embedding: Embedding, spec: Tensor, label: Tensor) -> Embedded:
        return embed(embedding, [(spec, label)], self.transform)

    def _named(self, found: dict[str, dict[int, float]]) -> dict[str, float]:
        """Return means over the targets and, with several, those of each."""
        scores = {name: sum(of.values()) / len(of) for name, of in found.items()}
        if len(self.targets) > 1:
            for name, of in found.items():
                scores |= {f"{name}/{self.label_names[index]}": value for index, value in of.items()}
        return scores
