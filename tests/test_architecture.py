"""The architecture and the glossary name files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

PAGE = Path("docs/architecture.md").read_text()
PACKAGE = Path("audiogen")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py): ([\w.]+)`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE + Path("docs/glossary.md").read_text())))


def definitions(path: Path) -> set[str]:
    """Return the names of all constants, classes, functions and methods of a file, methods after their class."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{method.name}" for method in node.body if isinstance(method, ast.FunctionDef)}
    return found


def test_the_path_through_the_code_has_a_function_for_every_step() -> None:
    steps = PAGE.split("| Step | Function | Result |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(steps) >= 14
    assert [step for step in steps if not re.search(r"`[\w/]+\.py: [\w.]+`", step)] == []


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_definition_that_is_named_exists(file: str, name: str) -> None:
    assert name in definitions(PACKAGE / file)


@pytest.mark.parametrize("file", FILES)
def test_file_that_is_named_exists(file: str) -> None:
    tops = [PACKAGE, *(folder for folder in PACKAGE.iterdir() if folder.is_dir()), Path()]
    assert any((top / file).is_file() for top in tops), file


def test_every_part_of_the_package_is_in_the_table() -> None:
    table = PAGE.split("| Folder or file |")[1].split("\n\n")[0]
    parts = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    named = {name.rstrip("/").split("/")[0] for name in re.findall(r"`([\w./]+)`", table)}
    assert parts - {"__init__.py"} - named == set()
