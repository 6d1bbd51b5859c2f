"""Set aside damaged files that a run can do without: rename them and report it."""

from pathlib import Path

SUFFIX = ".damaged"


def set_aside(path: Path, reason: str) -> str:
    """Rename a damaged file to NAME.damaged, or NAME.2.damaged if that exists, and return a message for the user.

    Args:
        path: The damaged file.
        reason: What is wrong with it.

    Raises:
        OSError: If the folder cannot be written.
    """
    target, number = path.with_name(path.name + SUFFIX), 2
    while target.exists():
        target, number = path.with_name(f"{path.name}.{number}{SUFFIX}"), number + 1
    path.rename(target)
    return f"{path} is damaged ({reason}): renamed to {target.name}"
