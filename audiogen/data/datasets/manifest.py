"""Read a manifest that lists sounds anywhere on disk, as CSV or JSON lines."""

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
    """List the sounds in a manifest by their `path` and, optionally, `label` and `split`.

    A `.csv` file has a header row with these names; a `.jsonl` file has one object with these keys per line. Other
    columns and keys are ignored, unless they are common synonyms of these three, which are refused. Paths are relative
    to the manifest's folder and may point anywhere. A label must not contain `/`, because files are named after it. A
    split is train (the default; or training), val (or valid, validation, dev) or test (or testing, eval).

    Args:
        file: File name of the manifest in the folder `--data.root`. `--data.root` may also name the manifest itself.
    """

    def __init__(self, file: str = "manifest.csv") -> None:
        self.file = file

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the sounds in the manifest's order, whether or not they exist."""
        manifest = find_table(root, self.file)
        rows = _read(manifest)
        if not rows:
            raise DatasetError(f"{manifest} lists no sounds")
        items = [_item(row, location, manifest.parent) for location, row in rows]
        _check_labels(rows)
        return items


def _item(row: dict[str, str], location: str, folder: Path) -> AudioItem:
    """Return the item described by a row."""
    path, label = listed_path(row["path"], folder, location), row.get("label")
    split = parse_split(row.get("split") or "train", location)
    return AudioItem(path, checked_label(label, location) if label else None, split)


def _check_labels(rows: Sequence[Row]) -> None:
    """Refuse a manifest in which only some of the rows have a label."""
    unlabelled = [location for location, row in rows if not row.get("label")]
    if 0 < len(unlabelled) < len(rows):
        raise DatasetError(f"{unlabelled[0]}: no label, but other rows have one; label all rows or none")


def _read(manifest: Path) -> list[Row]:
    """Read a manifest in the format given by its suffix."""
    suffix, names = manifest.suffix.lower(), (("path",), ("label", "split"))
    if suffix == ".csv":
        return read_csv(manifest, *names)
    if suffix == ".jsonl":
        return _read_json_lines(manifest, *names)
    raise DatasetError(f"expected a manifest named *.csv or *.jsonl, got {manifest}")


def _read_json_lines(path: Path, keys: Sequence[str], optional: Sequence[str]) -> list[Row]:
    """Read a file with one JSON object per line into the rows that `read_csv` returns. Blank lines are skipped."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    rows = [_parse_json(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if rows:
        check_columns(path, list({key: None for _, row in rows for key in row}), keys, optional)
    return [(location, dict.fromkeys(keys, "") | row) for location, row in rows]


def _parse_json(line: str, location: str) -> Row:
    """Return the row that a JSON object describes."""
    try:
        values = json.loads(line, object_pairs_hook=_Pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{location}: broken JSON: {error}") from error
    if not isinstance(values, _Pairs):
        raise DatasetError(f"{location}: expected a JSON object, got {line.strip()}")
    names = [key.lower() for key, _ in values]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"{location}: several keys {', '.join(repeated)}: keep one of each")
    cells = ["" if value is None else str(value).strip() for _, value in values]
    return location, dict(zip(names, cells, strict=True))


class _Pairs(list[tuple[str, Any]]):
    """Key-value pairs of a JSON object, including repeated keys."""
