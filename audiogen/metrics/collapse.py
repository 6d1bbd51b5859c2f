"""Tell from logged metrics that a GAN is about to collapse, or has.

A rule looks at one signal: at its value, or at its ratio to what it was before. What fires before the Frechet distance
gets worse was calibrated on runs that were made to collapse and on healthy ones (`python -m benchmarks.collapse`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal, NamedTuple

Against = Literal["nothing", "median", "lowest", "highest"]
MIN_VALUES = 4  # before a median says anything
WINDOW = 40  # values that the median is of
CALM = 8  # values in a row that are fine before a rule that fired may fire again


@dataclass(frozen=True)
class Rule:
    """When a signal tells of a collapse.

    Attributes:
        name: What has happened, in a word or two.
        signal: Name of the logged metric, or of one that `derived` computes; without the embedding's name.
        low: Below this it fires; None for no lower bound.
        high: Above this it fires; None for no upper bound.
        against: What the value is divided by before: "nothing", the "median", the "lowest" or the "highest" of the
            values before.
        above: Reference values have to be above this: of what is not positive there is no share, and of next to
            nothing no meaningful one.
        patience: How often running.
        stop: Whether the training should end.
        meaning: What it says, in words.

    Raises:
        ValueError: Without any bound, or for a patience below 1.
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
    """A rule that fired.

    Attributes:
        kimg: When.
        rule: Its name.
        text: What was seen, in words.
        stop: Whether the training should end.
    """

    kimg: float
    rule: str
    text: str
    stop: bool


@dataclass
class _Seen:
    """What a rule has seen of its signal; values that are alarming are no measure and left out."""

    recent: list[float] = field(default_factory=list)
    lowest: tuple[float, float] = (math.inf, 0.0)  # value and kimg
    highest: tuple[float, float] = (-math.inf, 0.0)
    running: int = 0  # alarming values in a row
    calm: int = 0  # others in a row
    silent: bool = False  # has fired


class Watch:
    """Apply rules to metrics as they are logged.

    Args:
        rules: The rules.
        warm_up_kimg: Before, signals are neither evaluated nor remembered: all runs begin wildly.
    """

    def __init__(self, rules: Sequence[Rule], warm_up_kimg: float) -> None:
        self.rules, self.warm_up_kimg = rules, warm_up_kimg
        self._seen = {rule: _Seen() for rule in rules}

    def update(self, kimg: float, scores: Mapping[str, float]) -> list[Alarm]:
        """Take the metrics logged at some time.

        Args:
            kimg: Clips shown, in thousands.
            scores: New metrics by name.

        Returns:
            The rules that fire; one that fired is silent until its signal has been calm for a while.
        """
        new = {**scores, **derived(scores)}
        alarms = [self._check(rule, kimg, _find(rule.signal, new)) for rule in self.rules]
        return [alarm for alarm in alarms if alarm is not None]

    def state(self) -> dict[str, Any]:
        """Return what has been seen, as plain values."""
        return {rule.name: asdict(seen) for rule, seen in self._seen.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; rules that were not there then begin anew."""
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
        return Alarm(kimg, rule.name, _tell(rule, kimg, value, reference, since), rule.stop)


def derived(scores: Mapping[str, float]) -> dict[str, float]:
    """Return signals that combine several metrics.

    `logits/size` is the larger of the mean logits' sizes. `logits/overfitting` tells where validation clips lie between
    training clips (0) and generated ones (1) in the eyes of the discriminator (Karras et al., 2020, equation 1).

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
    """Return a metric by its name, or by its name without the embedding's, of the first embedding."""
    if signal in scores:
        return scores[signal]
    ends = [name.removeprefix(f"{signal}_") for name in scores if name.startswith(f"{signal}_") and "/" not in name]
    ends = [end for end in ends if not end.endswith(("_floor", "_real"))]
    # Of diversity, those of diversity_classifier and diversity_min_classifier: the latter is another metric.
    own = (end for end in ends if not any(end.endswith(f"_{other}") for other in ends))
    found = next(own, None)
    return None if found is None else scores[f"{signal}_{found}"]


def _reference(rule: Rule, seen: _Seen) -> tuple[float | None, float]:
    """Return what a value is compared with and since when, or None where not enough has been seen."""
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


def _tell(rule: Rule, kimg: float, value: float, reference: float | None, since: float) -> str:
    """Say what was seen."""
    seen = f"{rule.signal} is {value:.3g} at {kimg:.1f} kimg"
    if rule.against == "median":
        seen += f", {reference:.3g} is usual"
    elif rule.against != "nothing":
        seen += f", its best was {reference:.3g} at {since:.1f} kimg"
    else:
        bounds = [f"below {rule.low:g}"] if rule.low is not None else []
        bounds += [f"above {rule.high:g}"] if rule.high is not None else []
        seen += f" ({' or '.join(bounds)} is alarming)"
    return f"{seen}: {rule.meaning}" if rule.meaning else seen


RULES = (
    Rule(
        "exploding logits",
        "logits/size",
        high=20.0,
        stop=True,
        meaning="the discriminator is sure of everything: a lower learning rate or more R1 would help",
    ),
    Rule(
        "strong discriminator",
        "loss/discriminator",
        low=0.5,
        patience=2,
        meaning="it tells clips apart too easily: more R1, augmentation or data would help",
    ),
    Rule(
        "overfitting",
        "logits/overfitting",
        high=1.0,
        patience=2,
        meaning="validation clips look less real than generated ones: training clips are known by heart",
    ),
    Rule(
        "alike",
        "minibatch_stddev/ratio",
        low=0.7,
        against="median",
        patience=2,
        meaning="generated clips become alike",
    ),
    Rule(
        "all the same",
        "minibatch_stddev/ratio",
        low=0.3,
        against="median",
        stop=True,
        meaning="generated clips are hardly different from each other",
    ),
    Rule(
        "diversity",
        "diversity",
        low=0.75,
        against="highest",
        patience=2,
        meaning="clips lose what makes them different",
    ),
    Rule(
        "diversity of a class",
        "diversity_min",
        low=0.4,
        patience=2,
        meaning="some class has lost its variety",
    ),
    Rule(
        "coverage",
        "coverage",
        low=0.4,
        against="highest",
        above=0.1,
        patience=2,
        meaning="parts of the data are no longer made",
    ),
    Rule(
        "coherence",
        "coherence",
        low=0.75,
        against="highest",
        patience=2,
        meaning="clips are no longer of their class",
    ),
    Rule(
        "path length",
        "path_length/mean",
        low=0.4,
        high=2.5,
        against="median",
        meaning="styles change the clips by another measure than before",
    ),
    Rule(
        "distance",
        "fad",
        high=1.5,
        against="lowest",
        patience=2,
        stop=True,
        meaning="the clips get worse",
    ),
)
