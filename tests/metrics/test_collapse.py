"""Rules of mode collapse: when they fire, and their messages."""

import pytest

from audiogen.metrics.collapse import CALM, RULES, Rule, Watch, derived


def watch(rule: Rule, values: list[float], warm_up: float = 0.0) -> list[float]:
    """Return the kimg at which a rule fires, for one value per kimg."""
    watched = Watch([rule], warm_up)
    return [kimg for kimg, value in enumerate(values, 1) if watched.update(float(kimg), {rule.signal: value})]


def test_bounds_on_the_value_itself() -> None:
    rule = Rule("r", "x", low=1.0, high=3.0)
    assert watch(rule, [2, 1, 3, 0.9]) == [4]
    assert watch(rule, [2, 1, 3, 3.1]) == [4]


def test_rule_fires_again_only_after_a_calm_period() -> None:
    rule = Rule("r", "x", high=1.0)
    assert watch(rule, [0, 2, 2, 2, 0, 2, 0, 2]) == [2]
    assert watch(rule, [2, *[0] * (CALM - 1), 2, *[0] * CALM, 2]) == [1, 2 * CALM + 2]


def test_patience_counts_consecutive_violations() -> None:
    assert watch(Rule("r", "x", high=1.0, patience=3), [2, 2, 0, 2, 2, 2, 2]) == [6]


def test_median_needs_a_few_values_and_excludes_violations() -> None:
    rule = Rule("r", "x", low=0.5, against="median")
    assert watch(rule, [1, 0.1, 1, 1]) == []
    assert watch(rule, [1, 1, 1, 1, 0.4]) == [5]
    assert watch(rule, [1, 1, 1, 1, *[0.4] * 50, *[1] * CALM, 0.4]) == [5, 55 + CALM]


def test_ratio_to_the_best_so_far() -> None:
    assert watch(Rule("r", "fad", high=1.5, against="lowest"), [90, 40, 20, 29, 31, 25]) == [5]
    assert watch(Rule("r", "coverage", low=0.5, against="highest"), [0.1, 0.4, 0.3, 0.19]) == [4]


def test_values_before_the_warm_up_are_ignored() -> None:
    rule = Rule("r", "x", high=1.5, against="lowest")
    assert watch(rule, [1, 100, 100, 100], warm_up=2) == []
    assert watch(rule, [1, 10, 16], warm_up=2) == [3]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_fire(value: float) -> None:
    assert watch(Rule("r", "x", low=0.5), [1, value]) == [2]


def test_alarm_has_value_reference_and_meaning() -> None:
    watched = Watch([Rule("distance", "fad", high=1.5, against="lowest", stop=True, meaning="the clips get worse")], 0)
    watched.update(10.0, {"fad": 20.0})
    (alarm,) = watched.update(12.5, {"fad": 41.0})
    assert alarm.text == "fad is 41 at 12.5 kimg, the best value was 20 at 10.0 kimg: the clips get worse"
    assert (alarm.kimg, alarm.rule, alarm.stop) == (12.5, "distance", True)


def test_signal_without_embedding_matches_neither_classes_nor_references() -> None:
    watched = Watch([Rule("r", "diversity", low=0.5)], 0)
    others = {"diversity_classifier/zero": 0.1, "diversity_classifier_real": 0.1}
    assert watched.update(1.0, others) == []
    assert len(watched.update(2.0, {**others, "diversity_classifier": 0.4})) == 1


def test_derived_signals() -> None:
    assert derived({"logits/real": 2.0, "logits/fake": -5.0}) == {"logits/size": 5.0}
    memorised = {"val/logits_train": 1.0, "val/logits_real": -4.0, "val/logits_fake": -1.0}
    assert derived(memorised)["logits/overfitting"] == 2.5
    assert derived({**memorised, "val/logits_fake": 1.0}) == {}


def test_history_is_restored_from_its_state() -> None:
    rule = Rule("r", "x", high=1.5, against="lowest", patience=2)
    first = Watch([rule], 0)
    for kimg, value in enumerate([10.0, 16.0]):
        first.update(float(kimg), {"x": value})
    second = Watch([rule], 0)
    second.load_state(first.state())
    assert len(second.update(2.0, {"x": 16.0})) == 1


def test_rules_without_bounds_or_patience_are_refused() -> None:
    with pytest.raises(ValueError, match="'r' needs low or high"):
        Rule("r", "x")
    with pytest.raises(ValueError, match="patience of at least 1"):
        Rule("r", "x", low=1.0, patience=0)


def test_default_rules_have_distinct_names() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_references_at_or_below_the_minimum_are_not_used() -> None:
    assert watch(Rule("r", "kad", high=1.5, against="lowest"), [-0.002, -0.002, 0.5]) == []
    assert watch(Rule("r", "coverage", low=0.5, against="highest", above=0.1), [0.005, 0.0, 0.2, 0.05]) == [4]


def test_bound_of_zero_is_in_the_message() -> None:
    (alarm,) = Watch([Rule("r", "x", high=0.0)], 0).update(1.0, {"x": 1.0})
    assert "(alarm above 0)" in alarm.text


@pytest.mark.parametrize("order", [1, -1])
def test_signal_does_not_match_a_longer_metric_name(order: int) -> None:
    scores = {"diversity_classifier": 0.9, "diversity_min_classifier": 0.1}
    watched = Watch([Rule("r", "diversity", low=0.5)], 0)
    assert watched.update(1.0, dict(list(scores.items())[::order])) == []
