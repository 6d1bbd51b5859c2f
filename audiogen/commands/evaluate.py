"""Compare generated, converted or recorded sounds with real clips: the command evaluate."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from audiogen.atomic import write_text
from audiogen.audio.formats import AUDIO_SUFFIXES
from audiogen.capabilities import Converts, Samples, require
from audiogen.checkpoint import load
from audiogen.checkpoint_io import CONFIG_NAME, checkpoints, find_config
from audiogen.commands.evaluate_conversion import EvaluatedConversion, conversion_classifiers, evaluate_conversion
from audiogen.commands.evaluation_data import real_data
from audiogen.commands.generate import pick_device
from audiogen.commands.run_config import callback_arguments
from audiogen.commands.sound_folder import proportional_counts, scarcest, usable_files
from audiogen.data.datasets.dataset import Split
from audiogen.data.datasets.folder import files_below
from audiogen.data.module import SpectrogramData
from audiogen.data.pipeline import Pipeline, clip_waveform
from audiogen.metrics.embeddings.classifier import Classifier
from audiogen.metrics.embeddings.embedding import Batches, Embedding
from audiogen.metrics.evaluator import Evaluator, view_on
from audiogen.metrics.heep import heep, heep_overall, read_ratings, s_gen
from audiogen.outputs import check_output_file

BATCH = 64
NUM_CLIPS = 1000
SAVED = (".ckpt", ".safetensors", ".yaml")


Found = TypeVar("Found", "Evaluated", EvaluatedConversion)


@dataclass(frozen=True)
class Evaluated:
    """Result of `evaluate` for generated clips.

    Attributes:
        scores: Metrics by name.
        settings: What was compared with what.
        label_names: Class names.
        file: JSON file with all of this.
    """

    scores: dict[str, float]
    settings: dict[str, Any]
    label_names: list[str]
    file: Path

    def __str__(self) -> str:
        """Return a table of the metrics beside those of real clips, and one per class."""
        lines = [f"{name}: {value}" for name, value in self.settings.items() if name != "notes"]
        lines += [f"note: {note}" for note in self.settings["notes"]]
        lines += ["", f"{'':<34}{'generated':>12}{'real':>12}"]
        overall = [name for name in self.scores if "/" not in name and not _is_reference(name)]
        lines += [f"{name:<34}{self.scores[name]:>12.4g}{self._reference(name):>12}" for name in overall]
        kinds = sorted({name.split("/")[0] for name in self.scores if "/" in name and not _is_reference(name)})
        if kinds:
            lines += ["", f"{'class':<20}" + "".join(f"{kind:>24}{'real':>10}" for kind in kinds)]
        for label in self.label_names if kinds else []:
            cells = [f"{self._text(f'{kind}/{label}'):>24}{self._reference(f'{kind}/{label}'):>10}" for kind in kinds]
            lines.append(f"{label:<20}" + "".join(cells))
        return "\n".join([*lines, "", f"All metrics are in {self.file}"])

    def _text(self, name: str) -> str:
        return f"{self.scores[name]:.4g}" if name in self.scores else "-"

    def _reference(self, name: str) -> str:
        head, *of_class = name.split("/")
        found = ("/".join([f"{head}_{kind}", *of_class]) for kind in ("floor", "real"))
        return next((self._text(other) for other in found if other in self.scores), "-")


def evaluate(
    checkpoint: str,
    against: str | None = None,
    root: str | None = None,
    evaluator: str | None = None,
    content: str | None = None,
    embeddings: list[Embedding] | None = None,
    split: Literal["train", "val", "test"] = "test",
    num_clips: int = NUM_CLIPS,
    seed: int = 0,
    truncation: float = 1.0,
    ratings: str | None = None,
    out: str | None = None,
    device: str | None = None,
) -> Evaluated | EvaluatedConversion:
    """Compare generated clips, converted clips or a folder of sounds with real clips.

    Real and generated clips are compared as spectrograms. If an embedding expects sound or another spectrogram, both
    are first inverted to sound, so the loss of the inversion does not count.

    Args:
        checkpoint: Checkpoint, run directory (its newest checkpoint), or folder of sounds. The folder needs a
            sub-folder per class, or file names such as those of `generate` (seven-000.wav).
        against: Real clips: a config, a run directory or a folder of sounds. Defaults to the data of the run.
        root: Folder of the data set, for a config without one and for runs of others, whose paths are ignored.
        evaluator: Trained classifier that embeds the clips: checkpoint, run directory, .safetensors file or the name of
            shipped weights. For a conversion model: the classifier of the domains.
        content: Conversion models only: trained classifier of what conversion should preserve, such as words.
        embeddings: Embeddings beside or instead of the evaluator. Defaults to those of the run's own evaluation.
        split: Split of the real clips. Choose models on val, and report test. A folder of real sounds has no splits:
            half of it is compared with, and the other half gives the reference scores.
        num_clips: Number of clips to generate, in the proportions of the real classes; upper limit for a folder.
        seed: Seed of the generated clips.
        truncation: Truncation of the generator; 1 is the full variety.
        ratings: CSV of human ratings of the clips, for HEEP and S_GEN (Jiralerspong & Gidel, 2022).
        out: JSON file to write. Defaults to evaluation-SPLIT.json in the run directory, or in the current folder.
        device: Device, such as cuda. By default a GPU if there is one.

    Returns:
        The metrics.

    Raises:
        OutputError: If the JSON file is one of the inputs, or cannot be written.
        ValueError: If options contradict each other, or there are too few clips.
    """
    path, where, notes = Path(checkpoint), pick_device(device), list[str]()
    sounds = path.is_dir() and not checkpoints(path)
    model = None if sounds else load(path, where)
    config = None if sounds else find_config(path)
    if against is not None and (Path(against) / CONFIG_NAME).is_file():
        against = str(Path(against) / CONFIG_NAME)  # of a run directory
    if against is not None and Path(against).is_dir():
        split = "val"  # one of the halves
    file = _file(out, config, split)
    named = [path, config, *(Path(one) for one in (against, evaluator, content, ratings) if one)]
    check_output_file(file, [inner for one in named if one is not None for inner in _inputs(one)])
    if isinstance(model, Converts):
        given = {"--embeddings": embeddings is not None, "--num_clips": num_clips != NUM_CLIPS, "--seed": seed != 0}
        _refuse(given | {"--truncation": truncation != 1, "--ratings": ratings is not None})
        classifiers = conversion_classifiers(evaluator, content, config, notes)
        data = real_data(against, config, root, [classifiers[0]], model, split, notes)
        settings = {"by": checkpoint, "kimg": model.kimg, "against": f"{split} clips of {against or config}"}
        settings |= {"note": "; ".join(notes)} if notes else {}
        return _written(evaluate_conversion(model, data, classifiers, split, settings, file))
    if content is not None:
        raise ValueError("--content is for conversion models, whose clips have a source")
    chosen = [*([Classifier(evaluator)] if evaluator else []), *(embeddings or [])] or _embeddings_of(config, notes)
    generator = None if model is None else require(model, Samples, "sample", "evaluate")
    data = real_data(against, config, root, chosen, generator, split, notes)
    settings = {"against": f"{len(data.split(split))} {split} clips of {against or config}", "notes": notes}
    request = _Request(path, chosen, split, num_clips, seed, truncation, where)
    scores = _score(request, data, generator, settings)
    if ratings is not None:
        scores |= _rated(Path(ratings), scores, data.label_names)
    return _written(Evaluated(scores, settings, data.label_names, file))


@dataclass(frozen=True)
class _Request:
    """What is to be scored: a generator's clips, or the sounds in a folder."""

    path: Path
    embeddings: list[Embedding]
    split: Split
    num_clips: int
    seed: int
    truncation: float
    device: torch.device


def _score(
    request: _Request, data: SpectrogramData, generator: Samples | None, settings: dict[str, Any]
) -> dict[str, float]:
    """Return the metrics, and add to the settings what was scored.

    Raises:
        ValueError: If there are too few clips, with the class that limits their number.
    """
    files: list[list[Path]] = []
    left_out: list[str] = []
    real, device = data.split(request.split), request.device
    if generator is None:
        files, left_out = usable_files(request.path, data.label_names, data.pipeline, request.num_clips, real.label)
    num = min([request.num_clips, *proportional_counts(files, real.label)])
    evaluator = Evaluator(request.embeddings, deepcopy(data.transform).to(device), data.label_names, num, device)
    other: Split = "test" if request.split == "train" else "train"
    try:
        evaluator.set_real(view_on(device, real), view_on(device, data.split(other)))
    except ValueError as error:
        raise ValueError(f"{error}{scarcest(files, data.label_names)}") from error
    if generator is None:
        evaluator.update(_read(files, evaluator, data.pipeline, device))
    else:
        evaluator.update(_generated(generator, evaluator, request.seed, request.truncation))
        settings["kimg"] = generator.kimg
    settings["generated"] = f"{int(evaluator.counts.sum())} clips of {request.path}"
    settings["notes"] += [*evaluator.notes, *left_out]
    return evaluator.compute()


def _refuse(given: dict[str, bool]) -> None:
    """Refuse options that have no meaning for a conversion model.

    Raises:
        ValueError: Naming those that were given.
    """
    if meaningless := [flag for flag, is_given in given.items() if is_given]:
        raise ValueError(f"{', '.join(meaningless)} mean nothing for a conversion model, which converts all clips once")


def _file(out: str | None, config: Path | None, split: str) -> Path:
    """Return the JSON file to write."""
    return Path(out) if out else (config.parent if config else Path()) / f"evaluation-{split}.json"


def _inputs(path: Path) -> list[Path]:
    """Return a file, or the sounds and checkpoints in a folder."""
    files = list(files_below(path)) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in {*AUDIO_SUFFIXES, *SAVED} or file == path]


def _written(found: Found) -> Found:
    """Write the JSON file.

    Raises:
        OSError: If it cannot be written. The message contains the table, so that nothing is lost.
    """
    content = {"settings": found.settings, "metrics": found.scores}
    try:
        write_text(found.file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; the result was:\n{found}\n", str(found.file)) from error
    return found


def _embeddings_of(config: Path | None, notes: list[str]) -> list[Embedding]:
    """Return the embeddings of the run's own evaluation.

    Raises:
        ValueError: If the run has none.
    """
    types = {"embeddings": list[Embedding]}
    if found := callback_arguments(config, "audiogen.callbacks.evaluation.Evaluation", types, notes):
        return list(found["embeddings"])
    raise ValueError(
        "name a classifier to embed clips with: --evaluator CLASSIFIER (`fit --config configs/classifier_fsdd.yaml` "
        "trains one), or --embeddings"
    )


def _generated(model: Samples, evaluator: Evaluator, seed: int, truncation: float) -> Batches:
    """Yield generated clips."""
    label, number = evaluator.wanted
    seeds = torch.tensor(model.clip_seeds(seed, int(number.max()) + 1))[number]
    for rows in torch.arange(len(label)).split(BATCH):
        yield model.sample(label[rows], seeds[rows].tolist(), truncation), label[rows]


def _read(files: Sequence[Sequence[Path]], evaluator: Evaluator, pipeline: Pipeline, device: torch.device) -> Batches:
    """Yield the first sounds of each class as spectrograms, padded and cut like the real ones."""
    label, number = evaluator.wanted
    for rows in torch.arange(len(label)).split(BATCH):
        paths = [
            files[index][number] for index, number in zip(label[rows].tolist(), number[rows].tolist(), strict=True)
        ]
        wav = torch.stack([clip_waveform(path, pipeline) for path in paths])  # [B, C, T]
        yield pipeline.transform(wav).to(device), label[rows]


def _rated(path: Path, scores: dict[str, float], label_names: Sequence[str]) -> dict[str, float]:
    """Return HEEP, overall and per class, and S_GEN for classes with a FAD.

    Raises:
        ValueError: If the ratings have other classes than the data.
    """
    rated = read_ratings(path)
    if sorted(rated.label_names) != sorted(label_names):
        raise ValueError(f"{path} rates {', '.join(rated.label_names)}; the data have {', '.join(label_names)}")
    each = dict(zip(rated.label_names, heep(rated.ratings, rated.targets), strict=True))
    found = {"heep": heep_overall(rated.ratings, rated.targets)} | {f"heep/{name}": x for name, x in each.items()}
    for name, precision in each.items():
        distance = next((x for key, x in scores.items() if _is_fad_of(key, name)), None)
        if distance is not None:
            found[f"s_gen/{name}"] = s_gen(torch.tensor(distance, dtype=torch.float64), precision)
    return {name: float(value) for name, value in found.items()}


def _is_fad_of(metric: str, label: str) -> bool:
    head, _, of_class = metric.partition("/")
    return of_class == label and head.startswith("fad_") and not _is_reference(metric)


def _is_reference(name: str) -> bool:
    return name.split("/")[0].endswith(("_floor", "_real"))
