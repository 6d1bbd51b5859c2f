"""Parsing the table of metrics, and sorting its columns into plots by their descriptions."""

import pytest

from audiogen.curves import Plot, Point, Table, parse_table
from audiogen.scalars import COLLAPSE, LOSSES, PER_CLASS, QUALITY, Scalar, Scalars

FAD = Scalar("fad_a", QUALITY, higher_is_better=False, reference="floor", log_scale=True)
COHERENCE = Scalar("coherence", QUALITY, higher_is_better=True, reference="real")
DIVERSITY = Scalar("diversity_a", "Diversity", reference="real")
LOGITS = [Scalar(name, COLLAPSE, plot="logits") for name in ("logits/real", "logits/fake", "val/logits_real")]
LOSS = Scalar("loss/", LOSSES, log_scale=True)
SCALARS = Scalars([FAD, FAD.per_class(), COHERENCE, COHERENCE.per_class(), DIVERSITY, *LOGITS, LOSS])


def curve(*values: float) -> list[Point]:
    return [Point(float(kimg), value) for kimg, value in enumerate(values)]


def table(curves: dict[str, list[Point]]) -> Table:
    return Table(1.0, curves, scalars=SCALARS)


def test_empty_cells_are_no_points() -> None:
    found = parse_table("step,kimg,a,b,c\n1000,1.0,5,,\n2000,2.0,,7,\n3000,3.0,4,nan,\n", "m.csv")
    assert found.kimg == 3
    assert found.curves["a"] == [Point(1, 5), Point(3, 4)]
    assert found.curves["b"][0] == Point(2, 7)
    assert set(found.curves) == {"a", "b"}  # c has no values


def test_unfinished_last_line_is_ignored() -> None:
    assert parse_table("kimg,a\r\n1.0,5\r\n2.0,6\r\n3", "m.csv").curves == {"a": [Point(1, 5), Point(2, 6)]}


def test_columns_of_text_are_listed_apart() -> None:
    found = parse_table("kimg,note,a\n1,,5\n2,hello,6\n", "m.csv")
    assert found.texts == ["note"]
    assert set(found.curves) == {"a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("step,a\n1,2\n", "a column kimg, got step, a"),
        ("kimg,a\n", "no rows yet"),
        ("kimg,a\n1,2\nx,3\n", "line 3: expected a number in the column kimg, got 'x'"),
        ("kimg,a\nnan,2\n", "line 2"),
        ("a,kimg\n1\n", "line 2: expected a number in the column kimg, got ''"),
        ("kimg,a\n1," + "9" * 200_000 + "\n", "is not a CSV table"),
    ],
)
def test_unusable_table_is_refused_with_its_path(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse_table(text, "runs/a/m.csv")
    assert "runs/a/m.csv" in str(error.value)


def test_references_are_drawn_in_the_plots_of_their_scalars() -> None:
    names = ["fad_a", "fad_a_floor", "fad_a/x", "fad_a_floor/x", "fad_a/y", "coherence", "coherence_real"]
    plots = table({name: curve(index + 1) for index, name in enumerate(names)}).plots()
    assert plots[QUALITY] == [
        Plot("fad_a", {"fad_a": curve(1)}, {"fad_a": ("floor", 2)}, log=True),
        Plot("coherence", {"coherence": curve(6)}, {"coherence": ("real", 7)}),
    ]
    classes = {"fad_a/x": curve(3), "fad_a/y": curve(5)}
    assert plots[PER_CLASS] == [Plot("fad_a", classes, {"fad_a/x": ("floor", 4)}, log=True)]
    assert list(plots) == [QUALITY, PER_CLASS]


def test_names_that_only_look_like_references_are_curves() -> None:
    plots = table({"val/logits_real": curve(1), "logits/real": curve(2), "coherence_real": curve(3)}).plots()
    assert list(plots[COLLAPSE][0].curves) == ["logits/real", "val/logits_real"]
    assert plots["Further"][0].title == "coherence_real"  # there is no coherence


def test_scalars_with_one_title_share_a_plot() -> None:
    names = ["loss/r1", "logits/fake", "logits/real", "loss/generator"]
    plots = table({name: curve(1) for name in names}).plots()
    ((logits,), (loss,)) = plots[COLLAPSE], plots[LOSSES]
    assert (logits.title, list(logits.curves)) == ("logits", ["logits/real", "logits/fake"])
    assert [loss.label(name) for name in loss.curves] == ["generator", "r1"]


def test_alias_is_drawn_only_without_the_scalar_it_repeats() -> None:
    scalars = Scalars([Scalar("fad", QUALITY, reference="floor", alias_of="fad_a"), FAD])
    names = {"fad": curve(3, 2), "fad_a": curve(3, 2), "fad_floor": curve(1, 1), "fad_a_floor": curve(1, 1)}
    assert [plot.title for plot in Table(1.0, names, scalars=scalars).plots()[QUALITY]] == ["fad_a"]
    assert [plot.title for plot in Table(1.0, {"fad": curve(3)}, scalars=scalars).plots()[QUALITY]] == ["fad"]


def test_logarithmic_axis_needs_positive_values() -> None:
    scalars = Scalars([Scalar(name, log_scale=name != "coherence") for name in ("a", "b", "c", "d", "coherence")])
    curves = {"a": curve(3, float("nan")), "b": curve(3, -0.1), "c": curve(2, 0), "d": curve(float("nan"))}
    plots = Table(1.0, curves | {"coherence": curve(1, 0.5)}, scalars=scalars).plots()["Further"]
    assert {plot.title: plot.log for plot in plots} == dict.fromkeys(("b", "c", "d", "coherence"), False) | {"a": True}


def test_every_column_is_drawn_once_whatever_its_name() -> None:
    names = ["x", "y/z/w", "fad_", "coverage_q/7", "Ünïcode", "$a_b$", "", "fad_a_floor"]
    plots = table({name: curve(0) for name in names}).plots()
    assert sorted(name for found in plots.values() for plot in found for name in plot.curves) == sorted(names)
    assert set(plots) == {"Further"}


def test_headings_of_other_packages_follow_those_of_this_one() -> None:
    scalars = Scalars([Scalar("novelty", "Novelty", unit="dB"), LOSS])
    plots = Table(1.0, {"x": curve(1), "novelty": curve(1), "loss/a": curve(1)}, scalars=scalars).plots()
    assert list(plots) == [LOSSES, "Novelty", "Further"]
    assert plots["Novelty"][0].unit == "dB"


def test_best_point_is_the_lowest_the_highest_or_the_nearest_to_real_clips() -> None:
    values = curve(0.5, float("nan"), 0.9, 1.3, float("-inf"))
    names = ("fad_a", "coherence/x", "diversity_a", "loss/generator")
    found = table({**dict.fromkeys(names, values), "diversity_a_real": curve(9, 1)})
    assert [found.best(name) for name in names] == [Point(0, 0.5), Point(3, 1.3), Point(2, 0.9), None]
    assert table({"diversity_a": values}).best("diversity_a") is None  # without a reference
    assert table({"fad_a": curve(float("nan"))}).best("fad_a") is None
    assert table({}).best("fad_a") is None


def test_reference_is_the_last_one_of_the_same_name() -> None:
    assert table({"fad_a": [], "fad_a_floor": curve(2, 3)}).reference("fad_a") == ("floor", 3)
    assert table({"fad_a/x": [], "fad_a_floor": curve(2, 3)}).reference("fad_a/x") is None


def test_headlines_are_scores_in_the_order_of_their_descriptions() -> None:
    scalars = Scalars([Scalar(name, higher_is_better=True, headline=True) for name in "ba"])
    scalars |= Scalars([Scalar("loss", headline=True), Scalar("c", higher_is_better=True)])
    found = Table(1.0, {name: curve(1) for name in ("a", "b", "c", "loss")}, scalars=scalars)
    assert found.headlines() == ["b", "a"]
