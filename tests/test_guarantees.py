"""The tests that documents name beside a guarantee exist."""

import ast
import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`((?:tests/(?:\w+/)*)?test_\w+\.py)::(test_\w+)`")
FOLDERS = {"data.md": Path("tests/data")}  # of names in tables whose header names the folder


@pytest.mark.parametrize("page", sorted(Path("docs").glob("*.md")), ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, name in NAMED.findall(page.read_text()):
        path = Path(file) if "/" in file else FOLDERS[page.name] / file
        assert path.is_file(), f"{page} names {path}"
        functions = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{page} names {path}::{name}"
