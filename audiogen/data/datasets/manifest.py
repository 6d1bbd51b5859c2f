"""A list of sounds wherever they lie: a CSV file, or JSON lines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError
from audiogen.data.datasets.table import (
    Row,
    check_columns,
    checked_label,
    find_table,
    listed_path,
    parse_split,
    read_csv,
    read_text,
)


class Manifest(AudioDataset):
    """List the sounds that a file names: their `path` and, if wanted, `label` and `split`.

    A `.csv` file has a header row with these names, a `.jsonl` file an object with these keys on each line; further
    columns and keys do no harm, unless they are other usual names of these three. A path is relative to the manifest's
    folder, and may lead anywhere. A label has no `/` in it, since sounds are named after it. A split is train (the
    default; or training), val (or valid, validation, dev) or test (or testing, eval).

    Args:
        file: Name of the manifest in the folder named with `--data.root`, which can also name the manifest itself.
    """

    def __init__(self, file: str = "manifest.csv") -> None:
        self.file = file

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the sounds in the manifest's order, whether they exist or not."""
        manifest = find_table(root, self.file)
        rows = _read(manifest)
        if not rows:
            raise DatasetError(f"{manifest} lists no sounds")
        clips = [_clip(row, place, manifest.parent) for place, row in rows]
        _check_labels(rows)
        return clips


def _clip(row: dict[str, str], place: str, folder: Path) -> AudioItem:
    """Return the clip of a row."""
    path, label = listed_path(row["path"], folder, place), row.get("label")
    split = parse_split(row.get("split") or "train", place)
    return AudioItem(path, checked_label(label, place) if label else None, split)


def _check_labels(rows: Sequence[Row]) -> None:
    """Refuse a manifest in which some rows have a label and others have none."""
    unlabelled = [place for place, row in rows if not row.get("label")]
    if 0 < len(unlabelled) < len(rows):
        raise DatasetError(f"{unlabelled[0]}: no label, but other rows have one; give it to all rows or to none")


def _read(manifest: Path) -> list[Row]:
    """Read a manifest by its suffix."""
    suffix, names = manifest.suffix.lower(), (("path",), ("label", "split"))
    if suffix == ".csv":
        return read_csv(manifest, *names)
    if suffix == ".jsonl":
        return _read_json_lines(manifest, *names)
    raise DatasetError(f"expected a manifest named *.csv or *.jsonl, got {manifest}")


def _read_json_lines(path: Path, keys: Sequence[str], optional: Sequence[str]) -> list[Row]:
    """Read a file with a JSON object on each line as `read_csv` reads a table; blank lines are skipped."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    rows = [_parse_json(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if rows:
        check_columns(path, list({key: None for _, row in rows for key in row}), keys, optional)
    return [(place, dict.fromkeys(keys, "") | row) for place, row in rows]


def _parse_json(line: str, place: str) -> Row:
    """Return the row that a JSON object is."""
    try:
        values = json.loads(line, object_pairs_hook=_Pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{place}: broken JSON: {error}") from error
    if not isinstance(values, _Pairs):
        raise DatasetError(f"{place}: expected a JSON object, got {line.strip()}")
    names = [key.lower() for key, _ in values]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"{place}: several keys {', '.join(repeated)}: keep one of each")
    cells = ["" if value is None else str(value).strip() for _, value in values]
    return place, dict(zip(names, cells, strict=True))


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, with keys that come twice."""
