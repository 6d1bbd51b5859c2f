"""Who may import whom, checked on the syntax tree."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path("audiogen")
# Parts of the package, and what each may import of it; None: anything.
ALLOWED = {
    "audio": {"audio", "atomic", "untrusted"},
    "losses": {"losses"},
    "rng": set(),
    "distributed": set(),
    "atomic": set(),
    "damaged": set(),
    "trainer_flags": set(),
    "run_settings": {"checkpoint_io", "damaged", "untrusted"},
    "checkpoint_io": {"atomic", "checksums", "untrusted"},
    "untrusted": set(),
    "home": set(),
    "terminal": set(),
    "resources": set(),
    "outputs": {"atomic", "untrusted"},
    "provenance": {"atomic", "untrusted", "data.cache"},
    "signals": set(),
    "fingerprint": {"untrusted"},
    "checksums": set(),
    "augment": {"augment", "rng"},
    "networks": {"networks", "rng", "distributed", "untrusted"},
    "transforms": {"transforms"},
    "scalars": set(),
    "curves": {"scalars"},
    "pictures": {"transforms", "curves", "atomic"},
    "data": {"data", "audio", "transforms", "atomic", "outputs", "untrusted", "fingerprint", "checksums"},
    "metrics": {
        "metrics",
        "networks",
        "transforms",
        "checkpoint",
        "fingerprint",
        "checksums",
        "atomic",
        *("resources", "distributed", "scalars", "capabilities"),
    },  # a classifier that evaluates is a checkpoint
    "models": {
        *("networks", "losses", "transforms", "data.batch", "rng", "distributed", "scalars"),
        *(
            "models.kimg",
            "models.gan",
            "models.optimizer_states",
            "models.precision",
            "models.schedules",
            "models.targets",
            "models.per_example",
            "models.transfer",
        ),  # what models are built of
        "checkpoint",  # a classifier that gives features is one
    },
    "callbacks": {
        *(
            "callbacks",
            "metrics",
            "pictures",
            "audio",
            "atomic",
            "damaged",
            "untrusted",
            "checkpoint_io",
            "lightning_compat",
        ),
        *("distributed", "signals", "scalars", "capabilities"),
    },
    "commands": None,
    "checkpoint": {"checkpoint_io", "atomic", "outputs", "resources", "trust"},
    "trust": set(),
    "lightning_compat": set(),
    "capabilities": {"transforms"},
    "strategy": {"distributed"},
    "cli": None,
    "__main__": None,
    "__init__": None,
}
# Third parties that only some parts may use.
FENCED = {
    "lightning": {
        *("models", "callbacks", "data/module.py"),
        *("checkpoint.py", "checkpoint_io.py", "cli.py", "lightning_compat.py", "strategy.py", "run_settings.py"),
    },
    "wandb": {"callbacks", "commands/dashboard.py"},
    "wandb_workspaces": {"commands/dashboard.py"},
    "soundfile": {"audio/io.py"},
    "soxr": {"audio/resample.py"},
    "joblib": {"data/parallel.py"},
    "filelock": {"data/cache.py", "cli.py"},
    "webdataset": {"data/shards.py"},
    "sqlite3": {"data/digests.py"},
    "noisereduce": {"audio/denoise.py"},
    "torch_fidelity": {"metrics/embeddings/inception.py"},
    "transformers": {"metrics/embeddings/pretrained.py"},
    "matplotlib": {"pictures.py", "callbacks"},
    "espeakng_loader": {"data/datasets/spoken_digits.py"},
    "jsonargparse": {"__main__.py", "cli.py", "commands", "home.py"},
    "tarfile": {"data/datasets/archive.py", "data/shards.py"},
    # These run programs, or what a file says.
    "subprocess": set(),
    "pickle": set(),
    "marshal": set(),
    "shelve": set(),
    "dill": set(),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names = [f"audiogen.{alias.name}" for alias in node.names]
            yield from names if node.module == "audiogen" else [node.module]


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_import_only_what_their_layer_may(path: Path) -> None:
    allowed = ALLOWED[part_of(path)]
    if allowed is None:
        return
    own = [name.removeprefix("audiogen.") for name in imports(path) if name.startswith("audiogen")]
    assert [name for name in own if not any(name == a or name.startswith(f"{a}.") for a in allowed)] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_third_parties_stay_behind_their_fences(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        places = FENCED.get(name.split(".")[0])
        assert places is None or any(where == p or where.startswith(f"{p}/") for p in places), f"{where} imports {name}"


def test_every_part_of_the_package_has_a_rule() -> None:
    assert {part_of(path) for path in FILES} <= set(ALLOWED)


def test_every_permission_is_used() -> None:
    unused = []
    for part, allowed in ALLOWED.items():
        found = {name.removeprefix("audiogen.") for path in FILES if part_of(path) == part for name in imports(path)}
        for each in (allowed or set()) - {part}:
            if not any(name == each or name.startswith(f"{each}.") for name in found):
                unused.append(f"{part} -> {each}")
    assert unused == []


def module_graph() -> dict[str, set[str]]:
    """Return the modules that each module imports, at any depth and under TYPE_CHECKING too."""
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    return {name: {found for found in _modules(path, names) if found != name} for name, path in names.items()}


def _modules(path: Path, names: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("audiogen"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else str(node.module)


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        tuple(TopologicalSorter(module_graph()).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_no_parts_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in module_graph().items():
        for other in imported:
            parts = [name.split(".")[1] if "." in name else name for name in (module, other)]
            if parts[0] != parts[1]:
                graph.setdefault(parts[0], set()).add(parts[1])
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")
