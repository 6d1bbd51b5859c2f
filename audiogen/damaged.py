"""What becomes of a damaged file that a run could go on without: it is kept under another name, and named."""

from pathlib import Path

SUFFIX = ".damaged"


def set_aside(path: Path, reason: str) -> str:
    """Rename a damaged file to NAME.damaged, or NAME.2.damaged where that exists, and return a message for the user.

    Args:
        path: The file.
        reason: What is wrong with it.

    Raises:
        OSError: The folder cannot be written.
    """
    target, number = path.with_name(path.name + SUFFIX), 2
    while target.exists():
        target, number = path.with_name(f"{path.name}.{number}{SUFFIX}"), number + 1
    path.rename(target)
    return f"{path} is damaged ({reason}): renamed to {target.name}"
