"""Tables that list clips: CSV files with a header row."""

import csv
import os
from collections.abc import Sequence
from io import StringIO
from pathlib import Path, PurePath

from audiogen.data.datasets.dataset import SPLIT_NAMES, DatasetError, Split, existing_folder
from audiogen.untrusted import is_plain_name, is_regular

# What columns are called elsewhere: one of these in place of ours is a mistake that would change what is trained on.
_OTHER_NAMES = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "audio", "wav", "sound"),
    "label": ("class", "class_name", "classes", "category", "labels", "target", "genre", "tag"),
    "split": ("splits", "set", "subset", "partition"),
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

# Where a row is, in words, and its cells by column name in lower case.
Row = tuple[str, dict[str, str]]


def find_table(root: Path | None, file: str) -> Path:
    """Return the table `file` of the folder `root`, or `root` where that is a table itself.

    Raises:
        DatasetError: Where there is none.
    """
    path = root if root is not None and root.is_file() else existing_folder(root) / file
    if not path.is_file():
        raise DatasetError(f"expected {file} in {root} (--data.root)")
    return path


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark.

    Raises:
        DatasetError: Where it is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not in UTF-8: {error}") from error


def read_csv(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Read a CSV file.

    Args:
        path: A file in UTF-8 whose first row names the columns, in upper or lower case.
        columns: Names that it must have, in lower case.
        optional: Names that it may have; where it has another usual name of one instead, it is refused.

    Returns:
        The rows; cells have no spaces around them, and missing ones at the end of a row are empty.

    Raises:
        DatasetError: Where the file is no such table; the message names the line or the columns.
    """
    reader = csv.DictReader(StringIO(read_text(path)), restval="", strict=True)
    try:
        header = reader.fieldnames or ()
        reader.fieldnames = [name.strip().lower() for name in header]
        check_columns(path, header, columns, optional)
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}, after line {reader.line_num}: {error}") from error
    for place, row in rows:
        if None in row:  # where DictReader puts cells that no column is left for
            raise DatasetError(f"{place}: more cells than columns (a name with a comma needs quotes)")
    return [(place, {name: cell.strip() for name, cell in row.items()}) for place, row in rows]


def parse_split(name: str, place: str) -> Split:
    """Return the split that a cell names: train, val, test, or another usual name of one, in upper or lower case.

    Raises:
        DatasetError: Where it names none.
    """
    if name.lower() not in SPLIT_NAMES:
        raise DatasetError(f"{place}: expected a split ({', '.join(SPLIT_NAMES)}), got {name!r}")
    return SPLIT_NAMES[name.lower()]


def listed_path(cell: str, folder: Path, place: str) -> Path:
    """Return the file that a list names: anywhere, since lists are for sounds wherever they lie.

    Raises:
        DatasetError: For no path, and for a device, a pipe or a file of /proc, which would be read without end.
    """
    path = folder / cell
    if not cell or "\0" in cell:
        raise DatasetError(f"{place}: no path" if not cell else f"{place}: expected a path, got {cell!r}")
    if "\\" in cell and os.sep == "/" and not path.exists():
        raise DatasetError(f"{place}: expected a path with /, got {cell!r}")
    if path.exists() and not (is_regular(path) or path.is_dir()):
        raise DatasetError(f"{place}: {cell} is neither a file nor missing")
    return path


def inner_path(cell: str, what: str, place: str) -> str:
    """Return the path of a file that a data set has in its own folder.

    Raises:
        DatasetError: Where it would lead out of it.
    """
    path = PurePath(cell)
    if not cell or {"\0", "\\"} & set(cell) or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{place}: expected a {what} in the folder of the data set, got {cell!r}")
    return cell


def checked_label(cell: str, place: str) -> str:
    """Return the name of a class, after which files are named.

    Raises:
        DatasetError: Where no file can be.
    """
    if not is_plain_name(cell):
        raise DatasetError(f"{place}: expected a label without / in it, got {cell!r}")
    return cell


def check_columns(path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse a table that is not what `read_csv` says.

    Args:
        path: The table.
        header: Names of its columns, in upper or lower case.
        columns: Names that it must have.
        optional: Names that it may have.

    Raises:
        DatasetError: For missing, doubtful and repeated names; the message says what to change.
    """
    names = [name.strip().lower() for name in header]
    if len(names) == 1 and (found := [word for mark, word in _SEPARATORS.items() if mark in names[0]]):
        raise DatasetError(f"{path} separates its columns by {found[0]}: expected commas")
    if missing := [name for name in columns if name not in names]:
        has = ", ".join(header) or "none"
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}: it has {has}{_hint(missing, names)}")
    for name in optional:
        if name not in names and (hint := _hint([name], names)):
            raise DatasetError(f"{path} has no column {name}{hint}, or remove it where it means something else")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"{path} has several columns {', '.join(repeated)}: keep one of each")


def _hint(missing: Sequence[str], names: Sequence[str]) -> str:
    """Say which columns should be renamed."""
    found = [(other, name) for name in missing for other in _OTHER_NAMES.get(name, ()) if other in names]
    return "".join(f"; rename {other} to {name}" for other, name in found)
