"""Detect mode collapse of a GAN from its logged metrics.

A rule compares one signal, or its ratio to earlier values, with bounds. The bounds were calibrated on runs that were
made to collapse and on healthy runs, so that rules fire before the Frechet distance rises
(`python -m benchmarks.collapse`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal, NamedTuple

Against = Literal["nothing", "median", "lowest", "highest"]
MIN_VALUES = 4  # for a median
WINDOW = 40  # most recent values, for the median
CALM = 8  # values within the bounds, in a row, before a rule that fired may fire again


@dataclass(frozen=True)
class Rule:
    """Bounds of a signal whose violation indicates a collapse.

    Attributes:
        name: Short name of the symptom.
        signal: Name of a logged metric or of a signal from `derived`. The name of the embedding can be omitted.
        low: The rule fires below this bound; None for no lower bound.
        high: The rule fires above this bound; None for no upper bound.
        against: Statistic of earlier values that the signal is divided by: "median", "lowest", "highest", or "nothing"
            to compare the value itself.
        above: Minimum of that statistic, since a ratio to a value near or below zero is meaningless. The rule is
            skipped at or below it.
        patience: Number of consecutive violations before the rule fires.
        stop: Whether the training should end.
        meaning: Explanation for the user.

    Raises:
        ValueError: If there is no bound, or the patience is below 1.
    """

    name: str
    signal: str
    low: float | None = None
    high: float | None = None
    against: Against = "nothing"
    above: float = 0.0
    patience: int = 1
    stop: bool = False
    meaning: str = ""

    def __post_init__(self) -> None:
        if (self.low is None and self.high is None) or self.patience < 1:
            raise ValueError(f"rule {self.name!r} needs low or high, and a patience of at least 1")


class Alarm(NamedTuple):
    """Report of a rule that fired.

    Attributes:
        kimg: Thousands of clips shown.
        rule: Name of the rule.
        text: Values and explanation for the user.
        stop: Whether the training should end.
    """

    kimg: float
    rule: str
    text: str
    stop: bool


@dataclass
class _Seen:
    """History of a rule's signal. Values that violate the rule do not count as references."""

    recent: list[float] = field(default_factory=list)
    lowest: tuple[float, float] = (math.inf, 0.0)  # value and kimg
    highest: tuple[float, float] = (-math.inf, 0.0)
    running: int = 0  # violations in a row
    calm: int = 0  # values within the bounds, in a row
    silent: bool = False  # whether it has fired and not been calm since


class Watch:
    """Apply rules to metrics as they are logged.

    Args:
        rules: The rules, with distinct names.
        warm_up_kimg: Earlier signals are ignored, because all runs start erratically.
    """

    def __init__(self, rules: Sequence[Rule], warm_up_kimg: float) -> None:
        self.rules, self.warm_up_kimg = rules, warm_up_kimg
        self._seen = {rule: _Seen() for rule in rules}

    def update(self, kimg: float, scores: Mapping[str, float]) -> list[Alarm]:
        """Check new metrics against all rules.

        Args:
            kimg: Thousands of clips shown.
            scores: The new metrics by name.

        Returns:
            Alarms of the rules that fire. After that, a rule stays silent until its signal has been within the bounds
            `CALM` times in a row.
        """
        new = {**scores, **derived(scores)}
        alarms = [self._check(rule, kimg, _find(rule.signal, new)) for rule in self.rules]
        return [alarm for alarm in alarms if alarm is not None]

    def state(self) -> dict[str, Any]:
        """Return the history of all signals as plain values; restored by `load_state`."""
        return {rule.name: asdict(seen) for rule, seen in self._seen.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`. Rules that are not in it start without history."""
        for rule in self.rules:
            if rule.name in state:
                self._seen[rule] = _Seen(**state[rule.name])

    def _check(self, rule: Rule, kimg: float, value: float | None) -> Alarm | None:
        if value is None or kimg < self.warm_up_kimg:
            return None
        seen = self._seen[rule]
        reference, since = _reference(rule, seen)
        if reference is not None and _outside(value, reference, rule):
            seen.running, seen.calm = seen.running + 1, 0
        else:
            seen.running, seen.calm = 0, seen.calm + 1
            seen.silent = seen.silent and seen.calm < CALM
            seen.recent = [*seen.recent[-WINDOW + 1 :], value]
            seen.lowest = min(seen.lowest, (value, kimg))
            seen.highest = max(seen.highest, (value, kimg))
        if seen.running < rule.patience or seen.silent:
            return None
        seen.silent = True
        return Alarm(kimg, rule.name, _describe(rule, kimg, value, reference, since), rule.stop)


def derived(scores: Mapping[str, float]) -> dict[str, float]:
    """Compute signals from several metrics.

    `logits/size` is the larger magnitude of the two mean logits. `logits/overfitting` is the position of the validation
    clips' mean logit between the mean logits of training clips (0) and generated clips (1) (Karras et al., 2020,
    equation 1).

    Example:
        >>> derived({"val/logits_train": 1.0, "val/logits_real": 0.5, "val/logits_fake": -1.0})
        {'logits/overfitting': 0.25}
    """
    signals = {}
    if {"logits/real", "logits/fake"} <= scores.keys():
        signals["logits/size"] = max(abs(scores["logits/real"]), abs(scores["logits/fake"]))
    if {"val/logits_train", "val/logits_real", "val/logits_fake"} <= scores.keys():
        train, held_out, fake = (scores[f"val/logits_{name}"] for name in ("train", "real", "fake"))
        if train > fake:
            signals["logits/overfitting"] = (train - held_out) / (train - fake)
    return signals


def _find(signal: str, scores: Mapping[str, float]) -> float | None:
    """Return the metric of that name, or else its value in the first embedding; None if neither exists."""
    if signal in scores:
        return scores[signal]
    ends = [name.removeprefix(f"{signal}_") for name in scores if name.startswith(f"{signal}_") and "/" not in name]
    ends = [end for end in ends if not end.endswith(("_floor", "_real"))]
    # For diversity, the ends are "classifier" and "min_classifier". The latter belongs to diversity_min.
    own = (end for end in ends if not any(end.endswith(f"_{other}") for other in ends))
    found = next(own, None)
    return None if found is None else scores[f"{signal}_{found}"]


def _reference(rule: Rule, seen: _Seen) -> tuple[float | None, float]:
    """Return the reference value and its kimg (0 for a median), or None before there are enough values."""
    if rule.against == "nothing":
        return 1.0, 0.0
    if rule.against == "median":
        usual = median(seen.recent) if len(seen.recent) >= MIN_VALUES else -math.inf
        return (usual, 0.0) if usual > rule.above else (None, 0.0)
    best = seen.lowest if rule.against == "lowest" else seen.highest
    return best if rule.above < best[0] < math.inf else (None, 0.0)


def _outside(value: float, reference: float, rule: Rule) -> bool:
    if not math.isfinite(value):
        return True
    return (rule.low is not None and value < rule.low * reference) or (
        rule.high is not None and value > rule.high * reference
    )


def _describe(rule: Rule, kimg: float, value: float, reference: float | None, since: float) -> str:
    """Return the values and the explanation for the user."""
    seen = f"{rule.signal} is {value:.3g} at {kimg:.1f} kimg"
    if rule.against == "median":
        seen += f", usually {reference:.3g}"
    elif rule.against != "nothing":
        seen += f", the best value was {reference:.3g} at {since:.1f} kimg"
    else:
        bounds = [f"below {rule.low:g}"] if rule.low is not None else []
        bounds += [f"above {rule.high:g}"] if rule.high is not None else []
        seen += f" (alarm {' or '.join(bounds)})"
    return f"{seen}: {rule.meaning}" if rule.meaning else seen


RULES = (
    Rule(
        "exploding logits",
        "logits/size",
        high=20.0,
        stop=True,
        meaning="the discriminator is overconfident. Lower the learning rate or raise r1_gamma",
    ),
    Rule(
        "strong discriminator",
        "loss/discriminator",
        low=0.5,
        patience=2,
        meaning="the discriminator separates real and generated clips too easily. Raise r1_gamma, or augment",
    ),
    Rule(
        "overfitting",
        "logits/overfitting",
        high=1.0,
        patience=2,
        meaning="the discriminator rates validation clips below generated ones: it has memorised the training clips",
    ),
    Rule(
        "falling variety",
        "minibatch_stddev/ratio",
        low=0.7,
        against="median",
        patience=2,
        meaning="the variety within generated batches is falling",
    ),
    Rule(
        "identical clips",
        "minibatch_stddev/ratio",
        low=0.3,
        against="median",
        stop=True,
        meaning="generated clips are nearly identical",
    ),
    Rule(
        "diversity",
        "diversity",
        low=0.75,
        against="highest",
        patience=2,
        meaning="generated clips have become more similar to each other",
    ),
    Rule(
        "class diversity",
        "diversity_min",
        low=0.4,
        patience=2,
        meaning="the clips of some class are nearly identical",
    ),
    Rule(
        "coverage",
        "coverage",
        low=0.4,
        against="highest",
        above=0.1,
        patience=2,
        meaning="parts of the data are no longer generated",
    ),
    Rule(
        "coherence",
        "coherence",
        low=0.75,
        against="highest",
        patience=2,
        meaning="fewer clips belong to the class they were generated for",
    ),
    Rule(
        "path length",
        "path_length/mean",
        low=0.4,
        high=2.5,
        against="median",
        meaning="equal steps in style space change the clips more, or less, than before",
    ),
    Rule(
        "distance",
        "fad",
        high=1.5,
        against="lowest",
        patience=2,
        stop=True,
        meaning="the generated clips have become worse",
    ),
)
