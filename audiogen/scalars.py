"""Describe logged scalars: heading, direction, unit and reference.

Leaf module of plain values. Whatever logs a scalar describes it in its own `scalars`: metrics, evaluators, models and
callbacks. `fit` writes the descriptions of a run to `scalars.json`, next to `metrics.csv`, so plots and reports need
neither a list of names nor the code that logged them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, Protocol, get_args, runtime_checkable

FILE_NAME = "scalars.json"
MAX_BYTES = 1 << 22
DESCRIPTIONS = "scalars"  # key of the same text in the config of a W&B run
QUALITY, DIVERSITY, PER_CLASS = "Quality", "Diversity", "Per class"
COLLAPSE, LOSSES, SPEED, FURTHER = "Collapse signals", "Losses", "Speed", "Further"
GROUPS = (QUALITY, DIVERSITY, PER_CLASS, COLLAPSE, LOSSES, SPEED)  # drawn in this order, before all other groups

Reference = Literal["floor", "real"]


@dataclass(frozen=True)
class Scalar:
    """Description of a logged scalar.

    Attributes:
        name: The name it is logged under. A name that ends in "/" describes all names that start with it, such as
            "loss/".
        group: The heading it is drawn under: one of the constants of this module, or any other text.
        higher_is_better: Direction of improvement. None for scalars without one: those are best nearest to the
            reference.
        unit: Unit of the value; empty for a plain number.
        reference: Suffix of the scalar that holds the score of real clips: `fad_floor` is the reference of `fad`. None
            if real clips are not scored.
        plot: Title of the plot that it shares with other scalars of the same title; empty for a plot of its own.
        log_scale: Whether to draw positive values on a logarithmic axis.
        headline: Whether the progress line and the top of a report show it.
        alias_of: Name of the scalar that it repeats, which is drawn instead of it.

    Raises:
        ValueError: If a field has the wrong type, or the reference is unknown. Descriptions are read from files.
    """

    name: str
    group: str = FURTHER
    higher_is_better: bool | None = None
    unit: str = ""
    reference: Reference | None = None
    plot: str = ""
    log_scale: bool = False
    headline: bool = False
    alias_of: str = ""

    def __post_init__(self) -> None:
        texts = (self.name, self.group, self.unit, self.plot, self.alias_of)
        flags = (self.log_scale, self.headline, self.higher_is_better or False)
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(flag, bool) for flag in flags):
            raise ValueError(f"expected str and bool fields in the description of a scalar, got {self}")
        if self.reference not in (None, *get_args(Reference)):
            raise ValueError(f"reference must be {', '.join(get_args(Reference))} or None, got {self.reference!r}")

    @property
    def title(self) -> str:
        """Title of its plot.

        Example:
            >>> Scalar("loss/").title, Scalar("val/logits_real", plot="logits").title, Scalar("fad").title
            ('loss', 'logits', 'fad')
        """
        return self.plot or self.name.removesuffix("/")

    def per_class(self) -> "Scalar":
        """Return the description of the values for single classes.

        Example:
            >>> scalar = Scalar("coherence", QUALITY, reference="real").per_class()
            >>> scalar.name, scalar.group, scalar.reference
            ('coherence/', 'Per class', 'real')
        """
        return replace(self, name=f"{self.name}/", group=PER_CLASS, headline=False)

    def reference_name(self, name: str) -> str | None:
        """Return the name of the scalar with the score of real clips.

        Args:
            name: A name that this description covers.

        Example:
            >>> Scalar("fad_vggish/", reference="floor").reference_name("fad_vggish/seven")
            'fad_vggish_floor/seven'
        """
        if self.reference is None:
            return None
        head, slash, label = name.partition("/")
        return f"{head}_{self.reference}{slash}{label}"


@runtime_checkable
class Describes(Protocol):
    """Anything that logs scalars and describes them."""

    @property
    def scalars(self) -> Sequence[Scalar]:
        """Descriptions in the order in which they are drawn below their heading."""


class Scalars:
    """Descriptions of the scalars of a run, looked up by name.

    Args:
        descriptions: In the order in which they are drawn. Later ones of the same name are ignored.

    Example:
        >>> scalars = Scalars([Scalar("loss/", LOSSES), Scalar("loss/r1", "Penalties")])
        >>> scalars["loss/generator"].group, scalars["loss/r1"].group, scalars["novelty"].group
        ('Losses', 'Penalties', 'Further')
    """

    def __init__(self, descriptions: Iterable[Scalar] = ()) -> None:
        self._by_name: dict[str, Scalar] = {}
        for scalar in descriptions:
            self._by_name.setdefault(scalar.name, scalar)
        self._order = {name: index for index, name in enumerate(self._by_name)}

    @classmethod
    def of(cls, owners: Iterable[object]) -> "Scalars":
        """Collect the descriptions of all owners that have any.

        Args:
            owners: Callbacks and models; those without `scalars` are skipped.
        """
        return cls(scalar for owner in owners if isinstance(owner, Describes) for scalar in owner.scalars)

    def __getitem__(self, name: str) -> Scalar:
        """Return the description of a logged name; an undescribed one belongs to the group "Further"."""
        stem = f"{name.partition('/')[0]}/"
        return self._by_name.get(name) or self._by_name.get(stem if "/" in name else "") or Scalar(name)

    def position(self, name: str) -> int:
        """Return the position of a logged name in the order of the descriptions; undescribed names come last."""
        return self._order.get(self[name].name, len(self._order))

    def __iter__(self) -> Iterator[Scalar]:
        return iter(self._by_name.values())

    def __or__(self, other: "Scalars") -> "Scalars":
        """Return both, in this order; for a name in both, the description of `self`."""
        return Scalars([*self, *other])

    def to_json(self) -> str:
        """Return the content of `scalars.json`; read by `from_json`. Fields that have their default are left out."""
        defaults = {field.name: field.default for field in fields(Scalar)}
        rows = [{key: x for key, x in asdict(scalar).items() if x != defaults[key]} for scalar in self]
        return "".join(["[\n", ",\n".join(json.dumps(row) for row in rows), "\n]\n"])

    @classmethod
    def from_json(cls, text: str, source: str) -> "Scalars":
        """Parse the content of `scalars.json`, which may come from somebody else.

        Args:
            text: Written by `to_json`.
            source: Path of the file, for the message.

        Raises:
            ValueError: If the text is not a list of descriptions.

        Example:
            >>> text = Scalars([Scalar("fad", reference="floor")]).to_json()
            >>> Scalars.from_json(text, "scalars.json")["fad"].reference
            'floor'
        """
        try:
            rows = json.loads(text)
            if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
                raise ValueError("expected a list of objects")
            return cls([Scalar(**row) for row in rows])
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{source} does not describe scalars: {error}") from error


@runtime_checkable
class TakesDescriptions(Protocol):
    """A logger that keeps the descriptions of what it logs."""

    def describe_scalars(self, scalars: Scalars) -> None:
        """Keep the descriptions, in addition to earlier descriptions of the run."""


def heading_order(groups: Iterable[str]) -> list[str]:
    """Return groups in display order: groups of this package, others in the given order, then "Further".

    Example:
        >>> heading_order(["Novelty", "Further", "Losses", "Quality"])
        ['Quality', 'Losses', 'Novelty', 'Further']
    """
    known = dict.fromkeys([*GROUPS, *groups])
    given = set(groups)
    return [group for group in known if group in given and group != FURTHER] + [FURTHER] * (FURTHER in given)
