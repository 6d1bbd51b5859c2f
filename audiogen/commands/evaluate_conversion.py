"""Evaluate a conversion model with classifiers: converted clips beside their sources and real clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiogen.capabilities import Converts
from audiogen.commands.run_config import callback_arguments
from audiogen.data.datasets.dataset import Split
from audiogen.data.module import SpectrogramData
from audiogen.metrics.conversion import ConversionEvaluator, convert_clips
from audiogen.metrics.embeddings.classifier import Classifier
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import view_on

SCORES = {  # with the metrics of the sources and of real clips of the target
    "target_fraction": ("target_fraction_source", "target_fraction_real"),
    "content_kept": (None, None),
    "success": (None, None),
    "fad": ("fad_source", "fad_floor"),
}


@dataclass(frozen=True)
class EvaluatedConversion:
    """Result of `evaluate` for a conversion model.

    Attributes:
        scores: Metrics by name.
        settings: What was compared with what.
        targets: Names of the target domains.
        file: JSON file with all of this.
    """

    scores: dict[str, float]
    settings: dict[str, Any]
    targets: list[str]
    file: Path

    def __str__(self) -> str:
        """Return a table of the metrics beside those of sources and real clips."""
        lines = [f"{name}: {value}" for name, value in self.settings.items()]
        lines += ["", f"{'':<28}{'converted':>12}{'source':>12}{'real':>12}"]
        endings = ["", *(f"/{name}" for name in self.targets)] if len(self.targets) > 1 else [""]
        for ending in endings:
            for name, references in SCORES.items():
                cells = [self._text(None if each is None else each + ending) for each in (name, *references)]
                if name + ending in self.scores:
                    lines.append(f"{name + ending:<28}" + "".join(f"{cell:>12}" for cell in cells))
        return "\n".join([*lines, "", f"All metrics are in {self.file}"])

    def _text(self, name: str | None) -> str:
        return f"{self.scores[name]:.4g}" if name in self.scores else "-"


def evaluate_conversion(
    model: Converts,
    data: SpectrogramData,
    classifiers: tuple[Embedding, Embedding | None],
    split: Any,
    settings: dict[str, Any],
    file: Path,
) -> EvaluatedConversion:
    """Convert all clips of a split to every target, and score them.

    Args:
        model: Conversion model on its device.
        data: Data with the model's spectrogram and domains.
        classifiers: Classifiers of the domains and of the content.
        split: Split of the clips to convert and to compare with.
        settings: Description of the evaluation.
        file: JSON file to be written.

    Returns:
        The metrics.

    Raises:
        ValueError: See `ConversionEvaluator`.
    """
    evaluator = ConversionEvaluator(*classifiers, model.transform, model.label_names, model.targets, model.device)
    other: Split = "test" if split == "train" else "train"
    clips, others = (view_on(model.device, data.split(name)) for name in (split, other))
    task = evaluator.set_real(clips, others)
    evaluator.update(convert_clips(model, clips, task))
    names = [model.label_names[index] for index in model.targets]
    settings = {"converted": f"{len(task.source)} clips to {', '.join(names)}", **settings}
    return EvaluatedConversion(evaluator.compute(), settings, names, file)


def conversion_classifiers(
    domain: str | None, content: str | None, config: Path | None, notes: list[str]
) -> tuple[Embedding, Embedding | None]:
    """Return the named classifiers, and those of the run's own evaluation for the others.

    Args:
        domain: Weights of the classifier of the domains.
        content: Weights of the classifier of the content.
        config: The run's config.
        notes: Receives notes for the user.

    Raises:
        ValueError: If there is no classifier of the domains.
    """
    types = {"domain": Embedding | None, "content": Embedding | None}
    of_run: dict[str, Any] = {}
    if domain is None or content is None:
        callback = "audiogen.callbacks.conversion.ConversionEvaluation"
        of_run = callback_arguments(config, callback, types, notes) or {}
    named = of_run.get("domain") if domain is None else Classifier(domain, "domain")
    if named is None:
        raise ValueError(
            "name a classifier of the domains: --evaluator CLASSIFIER (`fit --config configs/classifier_folder.yaml` "
            "trains one), and optionally one of the content: --content CLASSIFIER"
        )
    return named, of_run.get("content") if content is None else Classifier(content, "content")
