"""Descriptions of logged scalars: lookup by name, order, and their file."""

from types import SimpleNamespace

import pytest

from audiogen.scalars import QUALITY, Scalar, Scalars

FAD = Scalar("fad_a", QUALITY, higher_is_better=False, reference="floor", log_scale=True)
CLASSES = Scalar("fad_a/", "Per class", reference="floor")


def test_exact_name_takes_precedence_over_prefix() -> None:
    exact = Scalar("fad_a/zero", "Zero")
    scalars = Scalars([CLASSES, exact, FAD])
    assert [scalars[name] for name in ("fad_a", "fad_a/one/two", "fad_a/zero")] == [FAD, CLASSES, exact]


@pytest.mark.parametrize("name", ["fad", "fad_ab", "fad_a_floor", "fad_ab/zero", "/zero", "", "/"])
def test_undescribed_name_is_in_the_last_group(name: str) -> None:
    scalars = Scalars([FAD, CLASSES])
    assert scalars[name] == Scalar(name, "Further")
    assert scalars.position(name) == 2


def test_reference_of_a_class_is_that_of_the_same_class() -> None:
    assert FAD.reference_name("fad_a") == "fad_a_floor"
    assert CLASSES.reference_name("fad_a/zero/x") == "fad_a_floor/zero/x"
    assert Scalar("loss/").reference_name("loss/generator") is None


def test_owners_without_descriptions_are_skipped() -> None:
    owners = [SimpleNamespace(scalars=[FAD]), SimpleNamespace(), SimpleNamespace(scalars=(CLASSES, FAD))]
    assert list(Scalars.of(owners)) == [FAD, CLASSES]


def test_first_description_of_a_name_wins() -> None:
    other = Scalar("fad_a", "Other")
    assert (Scalars([FAD]) | Scalars([other, CLASSES]))["fad_a"] == FAD
    assert (Scalars([other]) | Scalars([FAD]))["fad_a"] == other


def test_file_keeps_descriptions_and_their_order() -> None:
    scalars = Scalars([CLASSES, Scalar("Ünï\n", unit="s", headline=True, plot="p", alias_of="x"), FAD])
    assert list(Scalars.from_json(scalars.to_json(), "scalars.json")) == list(scalars)
    assert list(Scalars.from_json(Scalars().to_json(), "scalars.json")) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[1]", "[null]", "[" * 100_000, '[{"group": "Quality"}]', '[{"name": "a", "color": "red"}]'),
        *('[{"name": 1}]', '[{"name": "a", "group": null}]', '[{"name": "a", "log_scale": "no"}]'),
        *('[{"name": "a", "reference": "best"}]', '[{"name": "a", "higher_is_better": 1}]'),
    ],
)
def test_file_that_describes_no_scalars_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"runs/a/scalars\.json does not describe scalars: "):
        Scalars.from_json(text, "runs/a/scalars.json")
