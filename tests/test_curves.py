"""Reading the table of metrics, and where each of them is drawn."""

from pathlib import Path

import pytest

from audiogen.curves import HEADINGS, Plot, Point, best_point, heading_of, read_table, reference_of, sort_plots


def curve(*values: float) -> list[Point]:
    return [Point(float(kimg), value) for kimg, value in enumerate(values)]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_empty_cells_are_no_points(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "m.csv", "step,kimg,a,b,c\n1000,1.0,5,,\n2000,2.0,,7,\n3000,3.0,4,nan,\n"))
    assert table.kimg == 3
    assert table.curves["a"] == [Point(1, 5), Point(3, 4)]
    assert table.curves["b"][0] == Point(2, 7)
    assert set(table.curves) == {"a", "b"}  # nothing was logged of c


def test_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "m.csv", "kimg,a\r\n1.0,5\r\n2.0,6\r\n3"))
    assert table.curves == {"a": [Point(1, 5), Point(2, 6)]}


def test_columns_of_text_are_named_and_no_obstacle(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "m.csv", "kimg,note,a\n1,,5\n2,hello,6\n"))
    assert table.texts == ["note"]
    assert set(table.curves) == {"a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("step,a\n1,2\n", "a column kimg, got step, a"),
        ("kimg,a\n", "no rows yet"),
        ("kimg,a\n1,2\nx,3\n", "line 3: expected a number in the column kimg, got 'x'"),
        ("kimg,a\nnan,2\n", "line 2"),
        ("a,kimg\n1\n", "line 2: expected a number in the column kimg, got ''"),
    ],
)
def test_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_table(write(tmp_path / "m.csv", text))
    assert "m.csv" in str(error.value)


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("fad", "Quality"),
        ("fid_inception", "Quality"),
        ("fad_infinity_vggish", "Quality"),
        ("coherence", "Quality"),
        ("diversity_min_classifier", "Diversity"),
        ("class_entropy", "Diversity"),
        ("fad_classifier/a/b", "Of each class"),
        ("coherence/zero", "Of each class"),
        ("logits/real_positive", "Collapse signals"),
        ("val/logits_real", "Collapse signals"),
        ("penalty/r1", "Losses"),
        ("evaluation/share", "Speed"),
        ("clips_per_second", "Speed"),
        ("val/accuracy", "Further"),
        ("fade", "Further"),
        ("", "Further"),
    ],
)
def test_headings(name: str, heading: str) -> None:
    assert heading_of(name) == heading


def test_references_belong_to_their_metrics_and_are_no_plots() -> None:
    names = ["fad_a", "fad_a_floor", "fad_a/x", "fad_a_floor/x", "fad_a/y", "coherence", "coherence_real"]
    plots = sort_plots({name: curve(index + 1) for index, name in enumerate(names)})
    assert plots["Quality"] == [
        Plot("fad_a", {"fad_a": curve(1)}, {"fad_a": ("floor", 2)}, log=True),
        Plot("coherence", {"coherence": curve(6)}, {"coherence": ("real", 7)}),
    ]
    classes = {"fad_a/x": curve(3), "fad_a/y": curve(5)}
    assert plots["Of each class"] == [Plot("fad_a", classes, {"fad_a/x": ("floor", 4)}, log=True)]
    assert list(plots) == ["Quality", "Of each class"]


def test_names_that_only_look_like_references_are_curves() -> None:
    plots = sort_plots({"val/logits_real": curve(1), "logits/real": curve(2), "coherence_real": curve(3)})
    assert list(plots["Collapse signals"][0].curves) == ["val/logits_real", "logits/real"]
    assert plots["Quality"][0].title == "coherence_real"  # of a figure that is not there


def test_what_is_read_together_shares_a_plot() -> None:
    names = ["logits/real", "logits/fake", "val/logits_train", "logits/real_positive", "loss/generator", "loss/r1"]
    plots = sort_plots({name: curve(1) for name in names})
    assert [(plot.title, len(plot.curves)) for plot in plots["Collapse signals"]] == [
        ("logits", 3),
        ("logits/real_positive", 1),
    ]
    (loss,) = plots["Losses"]
    assert [loss.label(name) for name in loss.curves] == ["generator", "r1"]
    positive = plots["Collapse signals"][1]
    assert positive.label("logits/real_positive") == ""


def test_fad_is_drawn_once() -> None:
    twice = {"fad": curve(3, 2), "fad_a": curve(3, 2), "fad_floor": curve(1, 1), "fad_a_floor": curve(1, 1)}
    assert [plot.title for plot in sort_plots(twice)["Quality"]] == ["fad_a"]
    assert [plot.title for plot in sort_plots({"fad": curve(3), "fad_b": curve(4)})["Quality"]] == ["fad", "fad_b"]


def test_distances_and_losses_are_logarithmic_where_all_are_positive() -> None:
    curves = {
        "fad_a": curve(3, float("nan")),
        "kad_a": curve(3, -0.1),
        "coherence": curve(1, 0.5),
        "loss/a": curve(2, 0),
        "penalty/a": curve(2, 1),
        "kid": curve(float("nan")),
    }
    log = {plot.title: plot.log for plots in sort_plots(curves).values() for plot in plots}
    assert log == {"fad_a": True, "kad_a": False, "coherence": False, "loss": False, "penalty": True, "kid": False}


def test_all_metrics_are_drawn_below_known_headings() -> None:
    names = ["x", "y/z/w", "fad_", "coverage_q/7", "Ünïcode", "$a_b$"]
    plots = sort_plots({name: curve(0) for name in names})
    assert sorted(name for found in plots.values() for plot in found for name in plot.curves) == sorted(names)
    assert set(plots) <= set(HEADINGS)


def test_best_is_lowest_highest_or_nearest_to_real_clips() -> None:
    values = curve(0.5, float("nan"), 0.9, 1.3, float("-inf"))
    assert best_point("fad_a", values) == Point(0, 0.5)
    assert best_point("coherence/x", values) == Point(3, 1.3)
    assert best_point("diversity_a", values, reference=1.0) == Point(2, 0.9)
    assert best_point("diversity_a", values) is None  # near to what?
    assert best_point("loss/generator", values) is None
    assert best_point("fad_a", curve(float("nan"))) is None


def test_reference_is_the_last_one() -> None:
    assert reference_of("fad", {"fad_floor": curve(2, 3)}) == ("floor", 3)
    assert reference_of("fad/x", {"fad_floor": curve(2, 3)}) is None
