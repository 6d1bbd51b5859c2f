"""Read files that others may have made: regular files of bounded size, plain values, and YAML that does not expand.

A run directory, a checkpoint or a list of sounds can come from anybody. It may contain a pipe, a link to a private
file, an endless file, or a few kilobytes that expand to gigabytes. These are rejected before they are opened or
expanded.
"""

import math
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import yaml

MAX_TEXT = 1 << 22  # bytes of a config; `fit` writes about 10 kB
MAX_DEPTH = 24
MAX_VALUES = 100_000  # a class name counts as one value
MAX_LETTERS = 10_000  # characters in one string
MAX_INT = 1 << 53  # largest integer up to which a float is exact
_KERNEL_FOLDERS = (Path("/proc"), Path("/sys"))  # files here are regular but have no size, and some are endless


class UntrustedFileError(ValueError):
    """A file was not read because it is not regular, too large, outside its folder, or expands without bounds."""


def is_regular(path: Path) -> bool:
    """Return whether a path leads to a regular file on a disk, not to a pipe, a device or a kernel file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return False
        if status.st_blocks:  # kernel files occupy no disk blocks, so most files skip the slow resolution
            return True
        resolved = path.resolve()
        return not any(resolved.is_relative_to(folder) for folder in _KERNEL_FOLDERS)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return False


def read_inside(folder: Path, name: str, max_bytes: int) -> bytes:
    """Read a file in a folder of unknown origin.

    Args:
        folder: The folder. It may itself be a link, since the user named it.
        name: Path of the file below the folder.
        max_bytes: Largest size to accept.

    Raises:
        FileNotFoundError: If the file does not exist.
        UntrustedFileError: If the path leads out of the folder or not to a regular file, or the file is too large.
    """
    path = folder / name
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no file {path}")
    try:
        inner = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise UntrustedFileError(f"{path} is a broken link: not read") from error
    if not inner.is_relative_to(folder.resolve()):
        raise UntrustedFileError(f"{path} is a link out of {folder}: not read")
    if not is_regular(inner):
        raise UntrustedFileError(f"{path} is not a regular file: not read")
    descriptor = os.open(inner, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UntrustedFileError(f"{path} is not a regular file: not read")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UntrustedFileError(f"{path} has more than {max_bytes} bytes: not read")
    return content


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML into plain values. Aliases count each time they are used.

    Args:
        text: The YAML text.
        source: Origin of the text, for error messages.

    Raises:
        UntrustedFileError: If the text is not YAML, too long, or expands to too many or too deeply nested values.
    """
    if len(text) > MAX_TEXT:
        raise UntrustedFileError(f"{source} has {len(text)} characters, expected at most {MAX_TEXT}")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if _num_nodes(node, {}, 0) > MAX_VALUES:
            raise UntrustedFileError(f"{source} expands to more than {MAX_VALUES} values")
        return plain(yaml.safe_load(text), source)
    except (yaml.YAMLError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n")[0]
        raise UntrustedFileError(f"{source} is not readable YAML: {reason}") from error


def plain(value: Any, source: str) -> Any:
    """Return a value after checking that it consists of dict, list, str, int, float, bool and None, of bounded size.

    Shared parts count each time they occur, so ten nested levels of ten references are rejected early.

    Args:
        value: The value to check.
        source: Origin of the value, for error messages.

    Raises:
        UntrustedFileError: If the value contains other types, or too much.

    Example:
        >>> plain({"widths": [32, 64]}, "model.ckpt")
        {'widths': [32, 64]}
    """
    left = MAX_VALUES
    stack = [(value, 0)]
    while stack:
        part, depth = stack.pop()
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            limit = f"{MAX_VALUES} values" if left < 0 else f"{MAX_DEPTH} levels"
            raise UntrustedFileError(f"{source} holds more than {limit}")
        if type(part) is dict:
            stack += [(inner, depth + 1) for pair in part.items() for inner in pair]
            if not all(type(key) is str for key in part):
                raise UntrustedFileError(f"{source} has a key that is not a string")
        elif type(part) is list:
            if len(part) > left:
                raise UntrustedFileError(f"{source} holds more than {MAX_VALUES} values")
            stack += [(inner, depth + 1) for inner in part]
        else:
            _check_single(part, source)
    return value


def _check_single(value: Any, source: str) -> None:
    """Check that a single value is plain."""
    if value is not None and type(value) not in (str, int, float, bool):
        raise UntrustedFileError(
            f"{source} holds a {type(value).__name__}, expected dict, list, str, int, float, bool or null"
        )
    if type(value) is str and len(value) > MAX_LETTERS:
        raise UntrustedFileError(f"{source} holds a string of {len(value)} characters, expected at most {MAX_LETTERS}")
    if type(value) is int and abs(value) > MAX_INT:
        raise UntrustedFileError(f"{source} holds an integer of {value.bit_length()} bits, expected at most 53")
    if type(value) is float and math.isnan(value):
        raise UntrustedFileError(f"{source} holds a NaN where a number is expected")


def _num_nodes(node: Any, known: dict[int, int], depth: int) -> int:
    """Return how many values a YAML node expands to; a circular one counts as too many."""
    if depth > 2 * MAX_DEPTH:
        return MAX_VALUES + 1
    if id(node) not in known:
        children: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = MAX_VALUES + 1  # until counted, so that a circle counts as too many
        known[id(node)] = min(1 + sum(_num_nodes(child, known, depth + 1) for child in children), MAX_VALUES + 1)
    return known[id(node)]


def require_stored_zip(path: Path) -> None:
    """Check that a zip archive does not expand beyond its file size.

    `torch.save` stores tensors uncompressed. A compressed archive of a few megabytes may expand to gigabytes of zeros.

    Args:
        path: The file, which is opened only if it is regular.

    Raises:
        UntrustedFileError: If it is not a zip archive of uncompressed, non-overlapping entries.
    """
    if not is_regular(path):
        raise UntrustedFileError("it is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # damaged directories fail in many ways
        raise UntrustedFileError(f"it is not a zip archive written by torch.save ({error})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise UntrustedFileError("it is compressed, but torch.save writes uncompressed archives")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UntrustedFileError("its entries overlap")


def is_plain_name(name: str) -> bool:
    """Return whether a file with this name stays in its folder.

    Example:
        >>> is_plain_name("seven"), is_plain_name("../seven"), is_plain_name("/seven")
        (True, False, False)
    """
    return name not in ("", ".", "..") and not {"/", os.sep, "\0"} & set(name)
