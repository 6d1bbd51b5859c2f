"""Read CSV tables that list sounds, and check their cells."""

import csv
import os
from collections.abc import Sequence
from io import StringIO
from pathlib import Path, PurePath

from audiogen.data.datasets.dataset import SPLIT_NAMES, DatasetError, Split, existing_folder
from audiogen.untrusted import is_plain_name, is_regular

# Common synonyms of our column names. A synonym in place of our name is an error: ignoring it would change the data.
_OTHER_NAMES = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "audio", "wav", "sound"),
    "label": ("class", "class_name", "classes", "category", "labels", "target", "genre", "tag"),
    "split": ("splits", "set", "subset", "partition"),
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

# Location of a row for messages, such as "FILE, line 3", and its cells by column name in lower case.
Row = tuple[str, dict[str, str]]


def find_table(root: Path | None, file: str) -> Path:
    """Return the path of the table `file` in the folder `root`, or `root` if it is itself a table.

    Raises:
        DatasetError: If there is no such file.
    """
    path = root if root is not None and root.is_file() else existing_folder(root) / file
    if not path.is_file():
        raise DatasetError(f"expected {file} in {root} (--data.root)")
    return path


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        DatasetError: If it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not in UTF-8: {error}") from error


def read_csv(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Read a CSV file.

    Args:
        path: UTF-8 file whose first row contains the column names, in upper or lower case.
        columns: Required column names, in lower case.
        optional: Optional column names. A table that has a common synonym instead is refused.

    Returns:
        The rows. Cells are stripped of surrounding spaces; missing cells at the end of a row are empty.

    Raises:
        DatasetError: If the file is not such a table. The message gives the line or the columns.
    """
    reader = csv.DictReader(StringIO(read_text(path)), restval="", strict=True)
    try:
        header = reader.fieldnames or ()
        reader.fieldnames = [name.strip().lower() for name in header]
        check_columns(path, header, columns, optional)
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}, after line {reader.line_num}: {error}") from error
    for location, row in rows:
        if None in row:  # key of the cells beyond the last column
            raise DatasetError(f"{location}: more cells than columns (a name with a comma needs quotes)")
    return [(location, {name: cell.strip() for name, cell in row.items()}) for location, row in rows]


def parse_split(name: str, location: str) -> Split:
    """Return the split named in a cell: train, val, test or a usual synonym, in upper or lower case.

    Args:
        name: Content of the cell.
        location: Location of the row, for messages.

    Raises:
        DatasetError: If it is not the name of a split.
    """
    if name.lower() not in SPLIT_NAMES:
        raise DatasetError(f"{location}: expected a split ({', '.join(SPLIT_NAMES)}), got {name!r}")
    return SPLIT_NAMES[name.lower()]


def listed_path(cell: str, folder: Path, location: str) -> Path:
    """Return the path of a file named in a list. It may be anywhere on disk.

    Args:
        cell: Path relative to `folder`, or an absolute path.
        folder: Folder of the list.
        location: Location of the row, for messages.

    Raises:
        DatasetError: If the cell is empty, or if it names a device, a pipe or a file in /proc, which could be endless.
    """
    path = folder / cell
    if not cell or "\0" in cell:
        raise DatasetError(f"{location}: no path" if not cell else f"{location}: expected a path, got {cell!r}")
    if "\\" in cell and os.sep == "/" and not path.exists():
        raise DatasetError(f"{location}: expected a path with /, got {cell!r}")
    if path.exists() and not (is_regular(path) or path.is_dir()):
        raise DatasetError(f"{location}: {cell} is neither a file nor missing")
    return path


def inner_path(cell: str, what: str, location: str) -> str:
    """Return the relative path of a file inside the data set's folder; `what` names the cell in messages.

    Raises:
        DatasetError: If it points outside the folder.
    """
    path = PurePath(cell)
    if not cell or {"\0", "\\"} & set(cell) or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{location}: expected a {what} in the folder of the data set, got {cell!r}")
    return cell


def checked_label(cell: str, location: str) -> str:
    """Return the class name in a cell. Files are named after it.

    Raises:
        DatasetError: If it cannot be part of a file name.
    """
    if not is_plain_name(cell):
        raise DatasetError(f"{location}: expected a label without / in it, got {cell!r}")
    return cell


def check_columns(path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse a table whose columns are not as described in `read_csv`.

    Args:
        path: Path of the table, for messages.
        header: Column names of the table, in upper or lower case.
        columns: Required names.
        optional: Optional names.

    Raises:
        DatasetError: If names are missing, repeated or probably wrong. The message explains what to change.
    """
    names = [name.strip().lower() for name in header]
    if len(names) == 1 and (found := [word for mark, word in _SEPARATORS.items() if mark in names[0]]):
        raise DatasetError(f"{path} has {found[0]} between its columns: expected commas")
    if missing := [name for name in columns if name not in names]:
        has = ", ".join(header) or "none"
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}: it has {has}{_hint(missing, names)}")
    for name in optional:
        if name not in names and (hint := _hint([name], names)):
            raise DatasetError(f"{path} has no column {name}{hint}, or remove it if it means something else")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"{path} has several columns {', '.join(repeated)}: keep one of each")


def _hint(missing: Sequence[str], names: Sequence[str]) -> str:
    """Return advice on which columns to rename."""
    found = [(other, name) for name in missing for other in _OTHER_NAMES.get(name, ()) if other in names]
    return "".join(f"; rename {other} to {name}" for other, name in found)
