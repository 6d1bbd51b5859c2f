"""Steps with gradients that are NaN are skipped, a number of times; see tests/faults for what is left behind."""

from pathlib import Path

import pytest
import torch

from audiogen.callbacks.nonfinite import SkipNonFinite
from audiogen.cli import main
from audiogen.models import kimg
from tests.tiny_run import arguments, write_classes

SKIP = ["--trainer.callbacks+", "audiogen.callbacks.nonfinite.SkipNonFinite", "--trainer.callbacks.max_in_a_row", "3"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", {"low": 300, "high": 2000})


def break_gradients(patch: pytest.MonkeyPatch, first: int, last: int) -> None:
    """Make the gradients of some updates, counted from 1, infinite."""
    calls = [0]

    def broken(gradients: list[torch.Tensor]) -> None:
        calls[0] += 1
        if first <= calls[0] <= last:
            gradients[0].fill_(torch.inf)

    patch.setattr(kimg, "all_reduce_mean_", broken)


def test_too_many_in_a_row_end_the_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_gradients(monkeypatch, 5, 1000)
    with pytest.raises(FloatingPointError, match=r"the gradient of \w+ became NaN or infinite at 0\.0\d+ kimg"):
        main(arguments(data, tmp_path / "run", 0.08, *SKIP))
    saved = sorted((tmp_path / "run" / "checkpoints").iterdir())
    state = torch.load(saved[-1], weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


def test_a_few_are_skipped_and_do_not_stand_in_the_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_gradients(monkeypatch, 5, 7)
    main(arguments(data, tmp_path / "run", 0.08, *SKIP))
    table = (tmp_path / "run" / "metrics.csv").read_text()
    assert "inf" not in table
    assert "nan" not in table


def test_no_steps_at_all_make_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SkipNonFinite(0)
