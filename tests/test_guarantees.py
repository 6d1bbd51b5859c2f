"""The tests that documents name beside a guarantee exist."""

import ast
import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`((?:tests/(?:\w+/)*)?test_\w+\.py)::(test_\w+)`")
ROWS = [line for line in Path("docs/security.md").read_text().splitlines() if re.match(r"\| .*`([\w/]*/)?test_", line)]
FOLDERS = {"data.md": Path("tests/data")}  # of names in tables whose header names the folder


@pytest.mark.parametrize("page", sorted(Path("docs").glob("*.md")), ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, name in NAMED.findall(page.read_text()):
        path = Path(file) if "/" in file else FOLDERS[page.name] / file
        assert path.is_file(), f"{page} names {path}"
        functions = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{page} names {path}::{name}"


def test_every_guarantee_of_the_security_page_names_tests_that_exist() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        file = ""
        for name in re.findall(r"`([\w/]*test_\w+(?:::test_\w+)?)`", row.rpartition(" | ")[2]):
            path, _, test = name.partition("::")
            if test or Path(f"tests/{path}.py").exists():
                file = path
            else:
                test = path  # of the file named before it
            text = Path(f"tests/{file}.py").read_text()
            assert not test or f"def {test}(" in text, f"{file} has no {test}"
