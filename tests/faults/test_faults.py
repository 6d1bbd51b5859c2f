"""Trainings that are stopped, broken and starved: a few of each kind; `python -m tests.faults` does many."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.faults import __main__ as faults
from tests.faults.bench import EVALUATIONS, SAVE_EVERY, Bench, Outcome


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    faults.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIOGEN_CACHE", "")  # set by the bench, and back afterwards
        yield Bench(tmp_path_factory.mktemp("faults"))


KINDS = {
    "kills": partial(faults.kills, num=3),
    "kills while saving": partial(faults.kills_while_saving, num=4),
    "SIGTERM": partial(faults.warnings, name="SIGTERM", num=1),
    "SIGUSR1": partial(faults.warnings, name="SIGUSR1", num=1),
    "SIGINT": partial(faults.warnings, name="SIGINT", num=1),
    "SIGUSR1 in an evaluation": partial(faults.stops_in_evaluation, name="SIGUSR1", occasions=(1, EVALUATIONS)),
    "killed in an evaluation": partial(faults.stops_in_evaluation, name="SIGKILL", occasions=(EVALUATIONS,)),
    "early warning": faults.early_warning,
    "errors": partial(faults.errors, num=4),
    "builds": partial(faults.killed_builds, num=2),
    "checkpoints": partial(faults.damaged_checkpoints, num=40),
    "stores": partial(faults.damaged_stores, num=16),
    "embeddings": partial(faults.damaged_embeddings, num=8),
    "tables": partial(faults.damaged_tables, num=16),
    "records": partial(faults.damaged_records, num=8),
    "full disk": partial(faults.full_disk, kilobytes=600),
    "read-only": faults.read_only,
    "damaged": faults.damaged,
    "NaN stops": partial(faults.nonfinite, skip=False),
    "NaN skipped": partial(faults.nonfinite, skip=True),
    "data": faults.data_changes,
    "no server": faults.no_server,
    "lost process": partial(faults.lost_process, victims=(1,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_survives(kind: str, bench: Bench) -> None:
    inject: Callable[[Bench], Outcome] = KINDS[kind]
    outcome = inject(bench)
    if outcome.note.startswith("skipped"):
        pytest.skip(outcome.note)
    assert outcome.injected == outcome.survived > 0
    assert outcome.lost <= (0 if kind.startswith("SIG") else SAVE_EVERY)
    assert outcome.differ == []


def test_a_difference_between_runs_is_seen(bench: Bench, tmp_path: Path) -> None:
    other = bench.fit(tmp_path / "other", None, "--seed_everything", "1")
    assert other.wait() == 0
    found = faults.differences(bench.reference, tmp_path / "other")
    assert any("state_dict" in place for place in found)
    assert any(place.startswith("metrics.csv") for place in found)
