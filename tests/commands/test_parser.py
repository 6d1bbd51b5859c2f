"""Command lines parsed from the signature of a function."""

import math
from collections.abc import Sequence

import pytest

from audiogen.commands.parser import call


def grow(paths: Sequence[str], out: str = "made.wav", seconds: float | None = None, overwrite: bool = False) -> tuple:
    """Grow a sound.

    Args:
        paths: Sounds.
        out: The result.
        seconds: Duration.
        overwrite: Replace an earlier result.
    """
    return (*paths, out, seconds, overwrite)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["a.wav", "b.wav"], ("a.wav", "b.wav", "made.wav", None, False)),
        (["a.wav", "--seconds", "inf"], ("a.wav", "made.wav", math.inf, False)),
        (["a.wav", "--seconds=inf", "--overwrite"], ("a.wav", "made.wav", math.inf, True)),
        (["inf", "--out", "inf", "--seconds", "2"], ("inf", "inf", 2.0, False)),
    ],
)
def test_options_are_values_flags_and_infinite_numbers(args: list[str], expected: tuple) -> None:
    assert call("grow", grow, args, {}) == expected
