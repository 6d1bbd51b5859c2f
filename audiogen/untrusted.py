"""Read what others may have made: regular files of bounded size, plain values, and YAML that does not expand.

A run directory, a checkpoint or a list of sounds can come from anybody. It may hold a pipe, a link to a private file, a
file without an end, or a few kilobytes that become gigabytes. All of that is refused before it is opened or expanded.
"""

import math
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import yaml

MAX_TEXT = 1 << 22  # bytes of a config; those that `fit` writes have 10 kB
MAX_DEPTH = 24
MAX_VALUES = 100_000  # each class name is one
MAX_LETTERS = 10_000  # of one text
MAX_INT = 1 << 53  # the integers that a float holds exactly
_KERNEL_FOLDERS = (Path("/proc"), Path("/sys"))  # their files are regular, without a size, and some have no end


class UntrustedFileError(ValueError):
    """A file that is not read, because it is not regular, too large, elsewhere, or expands without bounds."""


def is_regular(path: Path) -> bool:
    """Return whether a path leads to a regular file on a disk; pipes, devices and files of the kernel are none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return False
        if status.st_blocks:  # files of the kernel occupy no disk blocks, so most files need no slow resolution
            return True
        resolved = path.resolve()
        return not any(resolved.is_relative_to(folder) for folder in _KERNEL_FOLDERS)
    except (OSError, RuntimeError):  # the latter for links in a circle
        return False


def read_inside(folder: Path, name: str, max_bytes: int) -> bytes:
    """Read a file of a folder that somebody may have sent.

    Args:
        folder: The folder; it may be a link itself, since the user named it.
        name: Path of the file below the folder.
        max_bytes: Larger files are refused.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedFileError: If the path leads out of the folder, to something else than a regular file, or the file is
            too large.
    """
    path = folder / name
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no file {path}")
    try:
        inner = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise UntrustedFileError(f"{path} is a link that leads nowhere: not read") from error
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
    """Parse YAML into plain values; aliases count as often as they are used.

    Args:
        text: The YAML.
        source: What it was read from, for the message.

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
    """Return a value if it is made of dict, list, str, int, float, bool and None alone, and of bounded size.

    Shared parts count as often as they occur, so ten nested levels of ten references are refused, not walked.

    Args:
        value: As it was read.
        source: What it was read from, for the message.

    Raises:
        UntrustedFileError: If there is anything else in it, or too much.

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
                raise UntrustedFileError(f"{source} has a name that is not a text")
        elif type(part) is list:
            if len(part) > left:
                raise UntrustedFileError(f"{source} holds more than {MAX_VALUES} values")
            stack += [(inner, depth + 1) for inner in part]
        else:
            _check_single(part, source)
    return value


def _check_single(value: Any, source: str) -> None:
    """Refuse a single value that is not plain."""
    if value is not None and type(value) not in (str, int, float, bool):
        raise UntrustedFileError(
            f"{source} holds a {type(value).__name__}, expected dict, list, str, int, float, bool or null"
        )
    if type(value) is str and len(value) > MAX_LETTERS:
        raise UntrustedFileError(f"{source} holds a text of {len(value)} characters, expected at most {MAX_LETTERS}")
    if type(value) is int and abs(value) > MAX_INT:
        raise UntrustedFileError(f"{source} holds an integer of {value.bit_length()} bits, expected at most 53")
    if type(value) is float and math.isnan(value):
        raise UntrustedFileError(f"{source} holds a NaN where a number is expected")


def _num_nodes(node: Any, known: dict[int, int], depth: int) -> int:
    """Return how many values a YAML node becomes when all aliases are expanded; a circle counts as too many."""
    if depth > 2 * MAX_DEPTH:
        return MAX_VALUES + 1
    if id(node) not in known:
        children: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = MAX_VALUES + 1  # until it is counted
        known[id(node)] = min(1 + sum(_num_nodes(child, known, depth + 1) for child in children), MAX_VALUES + 1)
    return known[id(node)]


def require_stored_zip(path: Path) -> None:
    """Refuse a zip archive that would become larger than its file.

    `torch.save` stores tensors as they are. A compressed archive of a few megabytes may hold gigabytes of zeros.

    Args:
        path: The file, which is opened only if it is regular.

    Raises:
        UntrustedFileError: If it is not a zip archive of uncompressed entries that do not overlap.
    """
    if not is_regular(path):
        raise UntrustedFileError("it is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # damaged directories fail in many ways
        raise UntrustedFileError(f"it is not a zip archive as torch.save writes it ({error})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise UntrustedFileError("it is compressed, and torch.save writes uncompressed archives")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UntrustedFileError("its entries overlap")


def is_plain_name(name: str) -> bool:
    """Return whether a file with this name stays in its folder.

    Example:
        >>> is_plain_name("seven"), is_plain_name("../seven"), is_plain_name("/seven")
        (True, False, False)
    """
    return name not in ("", ".", "..") and not {"/", os.sep, "\0"} & set(name)
