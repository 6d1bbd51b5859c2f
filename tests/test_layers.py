"""Who may import whom, checked on the syntax tree."""

import ast
from collections.abc import Iterator
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
    "run_settings": {"checkpoint", "damaged", "untrusted"},
    "untrusted": set(),
    "home": set(),
    "terminal": set(),
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
        "distributed",
        "scalars",
    },  # a classifier that evaluates is a checkpoint
    "models": {
        *("networks", "losses", "transforms", "data.batch", "rng", "distributed", "scalars"),
        *(
            "models.kimg",
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
        *("callbacks", "metrics", "pictures", "audio", "atomic", "checksums", "damaged", "untrusted"),
        *("distributed", "signals", "scalars"),
    },
    "commands": None,
    "checkpoint": None,
    "trust": set(),
    "strategy": {"distributed"},
    "cli": None,
    "__main__": None,
    "__init__": None,
}
# Third parties that only some parts may use.
FENCED = {
    "lightning": {"models", "callbacks", "data/module.py", "checkpoint.py", "cli.py", "strategy.py", "run_settings.py"},
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
    "espeakng_loader": {"data/spoken_digits.py"},
    "jsonargparse": {"__main__.py", "commands", "home.py"},
    "tarfile": {"data/archive.py", "data/shards.py"},
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
