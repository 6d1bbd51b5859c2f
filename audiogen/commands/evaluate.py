"""Score a trained generator, or a folder of sounds, against real clips."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from audiogen.atomic import write_text
from audiogen.audio.formats import AUDIO_SUFFIXES
from audiogen.checkpoint import load
from audiogen.checkpoint_io import CONFIG_NAME, checkpoints, find_config
from audiogen.commands.evaluate_conversion import EvaluatedConversion, conversion_classifiers, evaluate_conversion
from audiogen.commands.generate import pick_device
from audiogen.commands.parser import read_data
from audiogen.commands.run_config import callback_arguments, find_root, read_config, run_builder
from audiogen.commands.sound_folder import as_many_as, scarcest, usable_files
from audiogen.data.datasets.dataset import Split
from audiogen.data.datasets.folder import ClassFolders, files_below
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
    """What `evaluate` found.

    Attributes:
        scores: Metrics by name.
        settings: What was compared with what.
        label_names: The classes.
        file: The JSON file with all of it.
    """

    scores: dict[str, float]
    settings: dict[str, Any]
    label_names: list[str]
    file: Path

    def __str__(self) -> str:
        """Return a table of the metrics beside those of real clips, and one of the classes."""
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
    """Score a generator, a conversion model, or existing sounds, against real clips.

    Real and generated clips alike are evaluated by their spectrograms, or by sounds made of these where an embedding
    takes sounds or another spectrogram: what is lost on the way counts for neither.

    Args:
        checkpoint: A checkpoint, a run directory for its newest one, or a folder of sounds: with a sub-folder for each
            class, or with files named as `generate` does (seven-000.wav).
        against: A config or a run's config.yaml, whose data are the real clips, or a folder of real sounds; by default
            the data of the checkpoint's run.
        root: Folder of the data set, for a config that names none, and for runs of others, whose paths are ignored.
        evaluator: A trained classifier to embed the clips with: its checkpoint or run directory, or a .safetensors
            file. For a conversion model it tells the domains apart: which does it take a converted clip for?
        content: For conversion models only: a trained classifier of what should stay, such as words.
        embeddings: Other embeddings, beside or in place of it; by default those of the run's own evaluation.
        split: Which real clips to compare with, train, val or test. Models are chosen on val and reported on test. A
            folder of real sounds has no splits: a half of it is compared with, the other half scores the floor.
        num_clips: To be made, of each class as large a share as of the real ones; of a folder, taken at most.
        seed: Of the clips.
        truncation: Of the generator.
        ratings: CSV of human ratings of the clips, for HEEP and S_GEN (Jiralerspong & Gidel, 2022).
        out: JSON file to write; by default evaluation-SPLIT.json in the run directory or here.
        device: Such as cuda; by default a GPU where there is one.

    Returns:
        The metrics.

    Raises:
        OutputError: If the JSON file is one of the inputs, or cannot be written.
        ValueError: For arguments that cannot be used together, and where there are too few clips to tell anything.
    """
    path, where, notes = Path(checkpoint), pick_device(device), list[str]()
    sounds = path.is_dir() and not checkpoints(path)
    model: Any = None if sounds else load(path, where)
    config = None if sounds else find_config(path)
    if against is not None and (Path(against) / CONFIG_NAME).is_file():
        against = str(Path(against) / CONFIG_NAME)  # of a run directory
    if against is not None and Path(against).is_dir():
        split = "val"  # one of the halves
    file = _file(out, config, split)
    named = [path, config, *(Path(one) for one in (against, evaluator, content, ratings) if one)]
    check_output_file(file, [inner for one in named if one is not None for inner in _inputs(one)])
    if hasattr(model, "convert"):
        given = {"--embeddings": embeddings is not None, "--num_clips": num_clips != NUM_CLIPS, "--seed": seed != 0}
        given |= {"--truncation": truncation != 1, "--ratings": ratings is not None}
        if meaningless := [flag for flag, is_given in given.items() if is_given]:
            raise ValueError(
                f"{', '.join(meaningless)} mean nothing for a conversion model, which converts all clips once"
            )
        classifiers = conversion_classifiers(evaluator, content, config, notes)
        data = _real_data(against, config, root, [classifiers[0]], model, split, notes)
        settings = {"by": checkpoint, "kimg": model.kimg, "against": f"{split} clips of {against or config}"}
        settings |= {"note": "; ".join(notes)} if notes else {}
        return _written(evaluate_conversion(model, data, classifiers, split, settings, file))
    if content is not None:
        raise ValueError("--content is for conversion models, whose clips have a source")
    if model is not None and not hasattr(model, "sample"):
        raise ValueError(f"{checkpoint} is a {type(model).__name__}, which makes no clips")
    chosen = [*([Classifier(evaluator)] if evaluator else []), *(embeddings or [])] or _embeddings_of(config, notes)
    data = _real_data(against, config, root, chosen, model, split, notes)
    real = data.split(split).label
    files, left_out = usable_files(path, data.label_names, data.pipeline, num_clips, real) if sounds else ([], [])
    few = min([num_clips, *as_many_as(files, real)])
    bench = Evaluator(chosen, deepcopy(data.transform).to(where), data.label_names, few, where)
    other: Split = "test" if split == "train" else "train"
    try:
        bench.set_real(view_on(where, data.split(split)), view_on(where, data.split(other)))
    except ValueError as error:
        raise ValueError(f"{error}{scarcest(files, data.label_names)}") from error
    bench.update(_read(files, bench, data.pipeline, where) if sounds else _made(model, bench, seed, truncation))
    scores = bench.compute()
    if ratings is not None:
        scores |= _rated(Path(ratings), scores, data.label_names)
    settings = {
        "generated": f"{int(bench.counts.sum())} clips of {path}",
        "against": f"{len(data.split(split))} {split} clips of {against or config}",
        "notes": [*notes, *bench.notes, *left_out],
        **({} if model is None else {"kimg": model.kimg}),
    }
    return _written(Evaluated(scores, settings, data.label_names, file))


def _file(out: str | None, config: Path | None, split: str) -> Path:
    """Return the JSON file to write."""
    return Path(out) if out else (config.parent if config else Path()) / f"evaluation-{split}.json"


def _inputs(path: Path) -> list[Path]:
    """Return a file, or the sounds and checkpoints of a folder."""
    files = list(files_below(path)) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in {*AUDIO_SUFFIXES, *SAVED} or file == path]


def _written(found: Found) -> Found:
    """Write the JSON file.

    Raises:
        OSError: If it cannot be written; the message holds the table, so that nothing is lost.
    """
    content = {"settings": found.settings, "metrics": found.scores}
    try:
        write_text(found.file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; found was:\n{found}\n", str(found.file)) from error
    return found


def _real_data(
    named: str | None,
    of_run: Path | None,
    root: str | None,
    embeddings: Sequence[Embedding],
    model: Any,
    split: Split,
    notes: list[str],
) -> SpectrogramData:
    """Return the data to compare with: those the user named, or else those of the run.

    Raises:
        ValueError: Where there are none, nobody knows what their spectrograms are, they are not the model's, or they do
            not have the split.
    """
    against = named or of_run
    if against is None:
        raise ValueError("name what to compare with: --against CONFIG.yaml, or a folder of real sounds")
    known = [model] if model is not None else embeddings
    if Path(against).is_dir():
        data = _data_of_folder(Path(against), known)
    elif named is not None:  # a config that the user names is code
        root = root or find_root(Path(against))
        args = ["--config", str(against), *(["--data.root", root] if root else [])]
        data = read_data(args)
    else:  # one that lies beside a checkpoint may have come with it
        data = _data_of_run(Path(against), root, notes)
    if model is not None and not model.transform.same_spectrogram(data.transform):
        raise ValueError(
            f"the model and {against} have different spectrograms: name data with the transform of the model"
        )
    if model is not None and model.label_names != data.label_names:
        knows, has = (", ".join(names) or "no classes" for names in (model.label_names, data.label_names))
        raise ValueError(f"the model knows {knows}, {against} has {has}")
    if split not in data.loaded.splits:
        others = [name for name in ("val", "train") if name in data.loaded.splits]
        raise ValueError(f"this data set has no {split} split: use --split {others[0]}")
    return data


def _data_of_folder(folder: Path, known: Sequence[Any]) -> SpectrogramData:
    """Return the halves of a folder of sounds as clips, of the transform and the classes that are known.

    Raises:
        ValueError: Where no transform is known.
    """
    transforms = [each.transform for each in known if each.transform is not None]
    if not transforms:
        raise ValueError(
            "two folders of sounds need an embedding with a spectrogram of its own: --evaluator CLASSIFIER"
        )
    folders = ClassFolders(val_fraction=0.5)
    folders.label_order = tuple(next((each.label_names for each in known if each.label_names), ()))
    return SpectrogramData(folders, transforms[0], root=str(folder))


def _data_of_run(config: Path, root: str | None, notes: list[str]) -> SpectrogramData:
    """Return the data that a run was trained on, built of trusted classes alone.

    Raises:
        ValueError: Where the config has none, or names other classes, or the data need a folder that nobody named.
    """
    builder = run_builder(config)
    settings = read_config(config).get("data")
    if not isinstance(settings, dict):
        raise ValueError(f"{config} names no data: name what to compare with by --against")
    found = root or (find_root(config) if builder.own else None)
    settings = {name: value for name, value in settings.items() if name != "root" or builder.own or not found}
    spec = {"class_path": f"{SpectrogramData.__module__}.SpectrogramData", "init_args": settings}
    if builder.own and found:
        spec["init_args"] = settings | {"root": found}
    data: SpectrogramData = builder.build(spec, SpectrogramData, "data")
    if not builder.own and found:
        data.root = Path(found).expanduser()
    if note := builder.note():
        notes.append(note)
        if data.root is None and "data.root" in builder.dropped:
            raise ValueError(f"{note}. Name the folder with --root DIR, or trust the config with --against {config}")
    return data


def _embeddings_of(config: Path | None, notes: list[str]) -> list[Embedding]:
    """Return the embeddings of the run's own evaluation.

    Raises:
        ValueError: Where there are none.
    """
    types = {"embeddings": list[Embedding]}
    if found := callback_arguments(config, "audiogen.callbacks.evaluation.Evaluation", types, notes):
        return list(found["embeddings"])
    raise ValueError(
        "name a classifier to embed clips with: --evaluator CLASSIFIER (`fit --config configs/classifier_fsdd.yaml` "
        "trains one), or --embeddings"
    )


def _made(model: Any, evaluator: Evaluator, seed: int, truncation: float) -> Batches:
    """Yield clips of a generator."""
    label, number = evaluator.wanted
    seeds = torch.tensor(model.clip_seeds(seed, int(number.max()) + 1))[number]
    for rows in torch.arange(len(label)).split(BATCH):
        yield model.sample(label[rows], seeds[rows].tolist(), truncation), label[rows]


def _read(files: Sequence[Sequence[Path]], evaluator: Evaluator, pipeline: Pipeline, device: torch.device) -> Batches:
    """Yield the first sounds of each class as spectrograms, padded and cut as the real ones are."""
    label, number = evaluator.wanted
    for rows in torch.arange(len(label)).split(BATCH):
        paths = [files[index][place] for index, place in zip(label[rows].tolist(), number[rows].tolist(), strict=True)]
        wav = torch.stack([clip_waveform(path, pipeline) for path in paths])  # [B, C, T]
        yield pipeline.transform(wav).to(device), label[rows]


def _rated(path: Path, scores: dict[str, float], label_names: Sequence[str]) -> dict[str, float]:
    """Return HEEP, overall and of each class, and S_GEN of those of which the first embedding's FAD is known.

    Raises:
        ValueError: For ratings of other classes.
    """
    rated = read_ratings(path)
    if sorted(rated.label_names) != sorted(label_names):
        raise ValueError(f"{path} rates {', '.join(rated.label_names)}, the data have {', '.join(label_names)}")
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
