"""A list of sounds wherever they lie: a CSV file, or JSON lines."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from audiogen.data.dataset import AudioDataset, Clip, DatasetError
from audiogen.data.table import Row, checked_label, find_table, listed_path, parse_split, read_csv, read_text


class Manifest(AudioDataset):
    """List the sounds that a file names: their `path` and, if wanted, `label` and `split`.

    A `.csv` file has a header row with these names, a `.jsonl` file an object with these keys on each line; further
    columns and keys do no harm. A path is relative to the manifest's folder, and may lead anywhere. A label has no `/`
    in it, since sounds are named after it. A split is train (the default; or training), val (or valid, validation, dev)
    or test (or testing, eval).

    Args:
        file: Name of the manifest in the folder named with `--data.root`, which can also name the manifest itself.
    """

    def __init__(self, file: str = "manifest.csv") -> None:
        self.file = file

    def scan(self, root: Path | None) -> Sequence[Clip]:
        """List the sounds in the manifest's order, whether they exist or not."""
        manifest = find_table(root, self.file)
        rows = _reader(manifest)(manifest, ("path",))
        if not rows:
            raise DatasetError(f"{manifest} lists no sounds")
        clips = [_clip(row, place, manifest.parent) for place, row in rows]
        _check_labels(rows)
        return clips


def _clip(row: dict[str, str], place: str, folder: Path) -> Clip:
    """Return the clip of a row."""
    path, label = listed_path(row["path"], folder, place), row.get("label")
    split = parse_split(row.get("split") or "train", place)
    return Clip(path, checked_label(label, place) if label else None, split)


def _check_labels(rows: Sequence[Row]) -> None:
    """Refuse a manifest in which some rows have a label and others have none."""
    unlabelled = [place for place, row in rows if not row.get("label")]
    if 0 < len(unlabelled) < len(rows):
        raise DatasetError(f"{unlabelled[0]}: no label, but other rows have one; give it to all rows or to none")


def _reader(manifest: Path) -> Callable[[Path, Sequence[str]], list[Row]]:
    """Return what reads a manifest of this suffix."""
    readers = {".csv": read_csv, ".jsonl": _read_json_lines}
    if manifest.suffix.lower() not in readers:
        raise DatasetError(f"expected a manifest named *.csv or *.jsonl, got {manifest}")
    return readers[manifest.suffix.lower()]


def _read_json_lines(path: Path, keys: Sequence[str]) -> list[Row]:
    """Read a file with a JSON object on each line as `read_csv` reads a table; blank lines are skipped."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [_parse_json(line, f"{path}, line {number}", keys) for number, line in lines if line.strip()]


def _parse_json(line: str, place: str, keys: Sequence[str]) -> Row:
    """Return the row that a JSON object is."""
    try:
        values = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{place}: broken JSON: {error}") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{place}: expected a JSON object, got {line.strip()}")
    cells = {key.lower(): "" if value is None else str(value).strip() for key, value in values.items()}
    return place, dict.fromkeys(keys, "") | cells
