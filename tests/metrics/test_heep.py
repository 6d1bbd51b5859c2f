"""HEEP and S_GEN against numpy, examples computed by hand, and the paper's table."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.metrics.heep import heep, heep_overall, read_ratings, s_gen

NAMES = ["amusement", "awe", "horror"]


@pytest.fixture
def rated() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.nn.functional.one_hot(torch.randint(3, (40,), generator=generator), 3)
    return 100 * torch.rand(40, 3, generator=generator) + 20 * targets, targets


def test_heep_equals_the_correlation_of_numpy(rated: tuple[Tensor, Tensor]) -> None:
    ratings, targets = (x.double().numpy() for x in rated)
    expected = [np.corrcoef(ratings[:, e], targets[:, e])[0, 1] for e in range(3)]
    found = heep(*rated)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert heep_overall(*rated).item() == pytest.approx(np.corrcoef(ratings.ravel(), targets.ravel())[0, 1], abs=1e-12)


def test_heep_of_an_example_computed_by_hand() -> None:
    # Ratings 0, 1, 2 of the first emotion, whose target is 0, 0, 1: 1 / sqrt(2 * 2 / 3).
    ratings = torch.tensor([[0.0, 4.0], [1.0, 4.0], [2.0, 1.0]])
    targets = torch.tensor([[0, 1], [0, 1], [1, 0]])
    np.testing.assert_allclose(heep(ratings, targets), [np.sqrt(0.75), 1.0])
    # Deviations of all six ratings from their mean 2: -2, 2, -1, 2, 0, -1. Deviations of the targets: +-1/2.
    assert heep_overall(ratings, targets).item() == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 0.5) / np.sqrt(14 * 1.5))


def test_heep_does_not_depend_on_scale_and_offset_of_the_ratings(rated: tuple[Tensor, Tensor]) -> None:
    ratings, targets = rated
    torch.testing.assert_close(heep(ratings, targets), heep(7 * ratings - 3, targets), rtol=0, atol=1e-6)
    torch.testing.assert_close(heep(-ratings, targets), -heep(ratings, targets))


def test_s_gen_reproduces_the_papers_table() -> None:
    fad = torch.tensor([1.28, 1.76, 1.76, 1.77, 1.75, 1.57, 1.34, 0.94, 1.67])
    human = torch.tensor([0.707, 0.455, 0.312, 0.372, 0.212, 0.229, 0.205, 0.359, 0.599])
    printed = [0.744, 0.512, 0.440, 0.467, 0.392, 0.433, 0.476, 0.711, 0.598]
    # Its columns are rounded: 0.005 / 0.94^2 / 2 = 0.003.
    np.testing.assert_allclose(s_gen(fad, human), printed, atol=0.003)


@pytest.mark.parametrize("fad", [0.0, -0.1, float("nan")])
def test_s_gen_refuses_distances_that_are_not_positive(fad: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        s_gen(torch.tensor([1.0, fad]), torch.tensor([0.5, 0.5]))
    with pytest.raises(ValueError, match="equal shapes"):
        s_gen(torch.tensor([1.0]), torch.tensor([0.5, 0.5]))


def test_constant_ratings_or_targets_are_refused(rated: tuple[Tensor, Tensor]) -> None:
    ratings, targets = rated
    constant = ratings.clone()
    constant[:, 1] = 5
    with pytest.raises(ValueError, match="all ratings of emotion 1 are 5"):
        heep(constant, targets)
    assert heep_overall(constant, targets).isfinite()
    only = torch.tensor([[1, 0, 0]]).expand(40, 3)
    with pytest.raises(ValueError, match="all targets of emotion 0 are 1"):
        heep(ratings, only)
    with pytest.raises(ValueError, match="are equal: their correlation is undefined"):
        heep_overall(torch.full((40, 3), 2.0), targets)


def test_mismatched_or_invalid_matrices_are_refused(rated: tuple[Tensor, Tensor]) -> None:
    ratings, targets = rated
    with pytest.raises(ValueError, match=r"\[40, 3\] and \[39, 3\]"):
        heep(ratings, targets[1:])
    with pytest.raises(ValueError, match="finite"):
        heep(ratings / 0, targets)
    with pytest.raises(ValueError, match=r"one-hot targets, got \[1.0, 1.0, 0.0\] in row 2"):
        heep(ratings, targets.index_copy(0, torch.tensor([2]), torch.tensor([[1, 1, 0]])))
    with pytest.raises(ValueError, match=r"\[N, E\]"):
        heep_overall(ratings[0], targets[0])


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_table_of_ratings_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.csv", "file,target,amusement,awe,horror", '"a, b.wav",awe,0.5, 2,1e1', "", "c.wav,horror,0,1,2"
    )
    names, ratings, targets = read_ratings(path)
    assert names == NAMES
    assert ratings.tolist() == [[0.5, 2, 10], [0, 1, 2]]
    assert targets.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert ratings.dtype == targets.dtype == torch.float64


def test_table_may_have_a_byte_order_mark_and_any_column_order(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("awe,target,amusement,file\n1.1,awe,2,x.wav\n", encoding="utf-8-sig")
    names, ratings, targets = read_ratings(path)
    assert names == ["awe", "amusement"]
    assert ratings.tolist() == [[1.1, 2.0]]  # read as float64; float32 would round 1.1
    assert targets.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "got nothing"),
        (["file,awe"], "expected columns file, target and one per class, got file, awe"),
        (["target,awe"], "expected columns file, target"),
        (["file,target"], "one per class"),
        (["file,target,awe,awe"], "got file, target, awe, awe"),
        (["file,target,awe"], "no ratings"),
        (["file,target,awe", "a.wav,joy,1"], "line 2: no column for target 'joy', only for awe"),
        (["file,target,awe", "a.wav,file,1"], "line 2: no column for target 'file'"),
        (["file,target,awe", "a.wav,awe,1", "b.wav,awe,much"], "line 3, column awe: expected a rating, got 'much'"),
        (["file,target,awe", "a.wav,awe,"], "line 2, column awe: expected a rating, got ''"),
        (["file,target,awe", "a.wav,awe,nan"], "line 2, column awe: expected a rating, got 'nan'"),
        (["file,target,awe", "a.wav,awe"], "line 2: expected 3 cells, got 2"),
    ],
)
def test_bad_tables_are_refused_with_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_ratings(write(tmp_path / "bad.csv", *lines))
    assert "bad.csv" in str(error.value)
