"""Print text of unknown origin safely: class and file names may contain escape sequences that act on a terminal."""

import logging
import re
import warnings
from typing import Any

# Control characters except tab and newline, and characters that change writing direction or separate lines.
_ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")


def printable(text: str) -> str:
    r"""Return a text with all characters escaped that would act on a terminal.

    Example:
        >>> printable("seven\x1b[2J")
        'seven\\x1b[2J'
    """
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_messages() -> None:
    """Escape all log messages and warnings from now on in this process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _escape_record not in logger.filters:
            logger.addFilter(_escape_record)
    form = warnings.formatwarning  # Lightning replaces it when imported
    if not hasattr(form, "escapes"):

        def form_and_escape(*args: Any, **options: Any) -> str:
            return printable(form(*args, **options))

        form_and_escape.escapes = True  # type: ignore[attr-defined]
        warnings.formatwarning = form_and_escape


def _escape_record(record: logging.LogRecord) -> bool:
    """Escape the message of a record, and let the record pass."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True
