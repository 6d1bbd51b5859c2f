"""The real clips that `evaluate` compares with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiogen.capabilities import Trained
from audiogen.commands.parser import read_data
from audiogen.commands.run_config import find_root, read_config, run_builder
from audiogen.data.datasets.dataset import Split
from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.module import SpectrogramData
from audiogen.metrics.embeddings.embedding import Embedding


def real_data(
    named: str | None,
    of_run: Path | None,
    root: str | None,
    embeddings: Sequence[Embedding],
    model: Trained | None,
    split: Split,
    notes: list[str],
) -> SpectrogramData:
    """Return the data to compare with: those that the user named, or those of the run.

    Args:
        named: Config, or folder of sounds.
        of_run: The run's config.
        root: Folder of the data set.
        embeddings: They define the spectrogram of a folder of sounds if there is no model.
        model: The model, if one is scored.
        split: The split that is needed.
        notes: Receives notes for the user.

    Raises:
        ValueError: If nothing is named, the spectrogram or the classes are not the model's, or the split is missing.
    """
    against = named or of_run
    if against is None:
        raise ValueError("name real clips with --against: a config, a run directory or a folder of sounds")
    known = [model] if model is not None else embeddings
    if Path(against).is_dir():
        data = _data_of_folder(Path(against), known)
    elif named is not None:  # the user named it, so it may run code
        root = root or find_root(Path(against))
        args = ["--config", str(against), *(["--data.root", root] if root else [])]
        data = read_data(args)
    else:  # it may have come with a checkpoint of others
        data = _data_of_run(Path(against), root, notes)
    if model is not None and not model.transform.same_spectrogram(data.transform):
        raise ValueError(
            f"the model and {against} have different spectrograms: name data with the transform of the model"
        )
    if model is not None and model.label_names != data.label_names:
        knows, has = (", ".join(names) or "no classes" for names in (model.label_names, data.label_names))
        raise ValueError(f"the model has the classes {knows}, {against} has {has}")
    if split not in data.loaded.splits:
        others = [name for name in ("val", "train") if name in data.loaded.splits]
        raise ValueError(f"this data set has no {split} split: use --split {others[0]}")
    return data


def _data_of_folder(folder: Path, known: Sequence[Any]) -> SpectrogramData:
    """Return the two halves of a folder of sounds as a training and a validation split.

    Raises:
        ValueError: If neither a model nor an embedding defines the spectrogram.
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
    """Return the data that a run was trained on, built from trusted classes only.

    Raises:
        ValueError: If the config has none or names other classes, or the folder of the data is unknown.
    """
    builder = run_builder(config)
    settings = read_config(config).get("data")
    if not isinstance(settings, dict):
        raise ValueError(f"{config} contains no data: name real clips with --against")
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
