"""No source of the package runs what a text or a file says, checked on the syntax tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path.cwd()
# Calls that run what a text or a file says.
FORBIDDEN = re.compile(
    r"(eval|exec|compile|__import__|os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*)|input"
    r"|torch\.(hub\.load\w*|jit\.load|package\.\w+|serialization\.\w+)|joblib\.load"
    r"|yaml\.(load|load_all|full_load|unsafe_load|unsafe_load_all)|(\w+\.)*(extractall|unpack_archive)"
    r"|(\w+\.)*(load_from_checkpoint|add_safe_globals))"
)
REQUIRED = {"torch.load": ("weights_only", True), "archive.extract": ("filter", "data")}
SOURCES = sorted(path for folder in ("audiogen", "slurm", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def offences(tree: ast.AST) -> Iterator[str]:
    """Yield what a file does that could run the code of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, given = dotted(node.func), {each.arg: each.value for each in node.keywords}
            if FORBIDDEN.fullmatch(name):
                yield name
            if "shell" in given or "allow_pickle" in given:
                yield f"{name}(shell or allow_pickle)"
            if name in REQUIRED:
                key, value = REQUIRED[name]
                found = given.get(key)
                if not (isinstance(found, ast.Constant) and found.value == value):
                    yield f"{name} without {key}={value}"
        pairs: list[tuple[Any, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = [
                (key.value, value)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            ]
        elif isinstance(node, ast.Call) and not dotted(node.func).endswith(".save_checkpoint"):
            pairs = [(each.arg, each.value) for each in node.keywords]
        for key, value in pairs:
            if key == "trust_remote_code" and not (isinstance(value, ast.Constant) and value.value is False):
                yield "trust_remote_code"
            if key == "weights_only" and not (isinstance(value, ast.Constant) and value.value is True):
                yield "weights_only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_what_a_file_says(path: Path) -> None:
    assert list(offences(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "os.system('x')",
        "subprocess.run('x', shell=True)",
        "eval('x')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=wanted)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "archive.extractall(folder)",
        "archive.extract(member, folder)",
        "load(a, trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
        "torch.hub.load('a', 'b')",
    ],
)
def test_the_rule_sees(text: str) -> None:
    assert list(offences(ast.parse(text)))


def test_archives_are_opened_in_one_place_and_shell_scripts_evaluate_nothing() -> None:
    users = [path.name for path in SOURCES if re.search(r"\.extract\(", path.read_text())]
    assert users == ["archive.py"]
    for path in (ROOT / "slurm").iterdir():
        assert not re.search(r"^\s*eval\b|\bsh -c\b", path.read_text(), re.M), path
