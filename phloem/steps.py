"""The steps of a scenario: frozen dataclasses, each with the text form `name:key=value,…`.

    changes   swap rotate noise gain      what a sample is, from a moment on
    orders    appear tasks burst          which of a client's samples comes when; none is lost
    pace      stagger label_delay poisson rush slow

Moments and lengths (`at`, `over`, `period`) are a share of the client's stream if below 1, else a number of
samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from phloem.errors import DataError

FOREVER = 10**9


@dataclass(frozen=True, slots=True)
class Ranged:
    """A step whose numbers lie in `ranges` and whose words are among `words`."""

    name: ClassVar[str]
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    words: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        for key, (lowest, highest) in self.ranges.items():
            value = getattr(self, key)
            if not lowest <= value <= highest:
                raise DataError(
                    f"`{key}` of `{self.name}` should be in {lowest:g}..{highest:g}. Found {value:g}."
                )
        for key, known in self.words.items():
            word = getattr(self, key)
            if word not in known:
                raise DataError(
                    f"`{key}` of `{self.name}` should be {' or '.join(map(repr, known))}. Found {word!r}. "
                    "Use one of them."
                )


TIMES: dict[str, tuple[float, float]] = {
    "at": (0, FOREVER),
    "over": (0, FOREVER),
    "period": (0, FOREVER),
    "steps": (0, 1000),
    "clients": (0, 1),
}


@dataclass(frozen=True, slots=True)
class Change(Ranged):
    """What a sample is changes at `at`, abruptly, or in one of three other manners.

    Gradual: during `over` the new concept comes in more and more often. Incremental: the change grows in
    `steps` steps during `over`. Recurring: new and old take turns, `period` each. `clients` is the share of
    clients it happens to.
    """

    at: float = field(default=0.5, kw_only=True)
    over: float = field(default=0.0, kw_only=True)
    steps: int = field(default=0, kw_only=True)
    period: float = field(default=0.0, kw_only=True)
    clients: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse manners that contradict each other."""
        Ranged.__post_init__(self)
        if self.period and (self.over or self.steps):
            raise DataError(
                f"`{self.name}` should have `period`, to recur, or `over`, to be gradual. Found both."
            )
        if self.steps and not self.over:
            raise DataError(
                f"`{self.name}` with `steps` should say during how long, with `over`. Found none."
            )

    @property
    def kind(self) -> str:
        """One of `abrupt`, `gradual`, `incremental`, `recurring`."""
        if self.period:
            return "recurring"
        return "incremental" if self.steps else "gradual" if self.over else "abrupt"


@dataclass(frozen=True, slots=True)
class Swap(Change):
    """The labels of a share of the classes, two at least, are permuted so that none keeps its own."""

    name: ClassVar[str] = "swap"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {**TIMES, "classes": (0, 1), "steps": (0, 0)}
    classes: float = 0.6


@dataclass(frozen=True, slots=True)
class Shift(Change):
    """A change of inputs by an amount: the same for all, or, with `by=client`, one of each client's own."""

    words: ClassVar[dict[str, tuple[str, ...]]] = {"by": ("all", "client")}
    by: str = field(default="all", kw_only=True)


@dataclass(frozen=True, slots=True)
class Rotate(Shift):
    """Images are turned by so many degrees; a client's own is drawn evenly up to that, either way round."""

    name: ClassVar[str] = "rotate"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {**TIMES, "degrees": (-360, 360)}
    degrees: float = 30.0


@dataclass(frozen=True, slots=True)
class Noise(Shift):
    """Gaussian noise of so many deviations of the inputs; a client's own is drawn evenly up to that."""

    name: ClassVar[str] = "noise"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {**TIMES, "sd": (0, 1000)}
    sd: float = 0.5


@dataclass(frozen=True, slots=True)
class Gain(Shift):
    """Inputs are multiplied; a client's own factor is in `1/factor..factor`, evenly in its logarithm."""

    name: ClassVar[str] = "gain"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {**TIMES, "factor": (1e-6, 1e6)}
    factor: float = 0.5


@dataclass(frozen=True, slots=True)
class Appear(Ranged):
    """So many classes, drawn by the seed, do not come before `at`."""

    name: ClassVar[str] = "appear"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"count": (1, 65_536), "at": (0, FOREVER)}
    count: int = 1
    at: float = field(default=0.5, kw_only=True)


@dataclass(frozen=True, slots=True)
class Tasks(Ranged):
    """Class-incremental: the classes in so many groups, one after the other, in the order given or drawn."""

    name: ClassVar[str] = "tasks"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"count": (2, 65_536)}
    words: ClassVar[dict[str, tuple[str, ...]]] = {"order": ("given", "drawn")}
    count: int
    order: str = field(default="given", kw_only=True)


@dataclass(frozen=True, slots=True)
class Burst(Ranged):
    """Of the last `length` of each `every` samples a share `strength` is of one class, drawn each time."""

    name: ClassVar[str] = "burst"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "strength": (0, 1),
        "length": (1, FOREVER),
        "every": (1, FOREVER),
    }
    strength: float = 0.9
    length: int = field(default=50, kw_only=True)
    every: int = field(default=250, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse bursts that overlap."""
        Ranged.__post_init__(self)
        if self.length > self.every:
            raise DataError(
                f"`burst` should have a `length` of at most `every`. Found {self.length} and {self.every}."
            )


@dataclass(frozen=True, slots=True)
class Stagger(Ranged):
    """Changes and appearances come later, at each client by its own part of `spread` of its stream."""

    name: ClassVar[str] = "stagger"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"spread": (0, 1)}
    spread: float


@dataclass(frozen=True, slots=True)
class LabelDelay(Ranged):
    """A sample's label is known when so many more samples of its client have come."""

    name: ClassVar[str] = "label_delay"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"samples": (0, FOREVER)}
    samples: int


@dataclass(frozen=True, slots=True)
class Poisson(Ranged):
    """How many samples arrive in a round is drawn from Poisson's law."""

    name: ClassVar[str] = "poisson"


@dataclass(frozen=True, slots=True)
class Rush(Ranged):
    """In one of every `every` rounds, at each client's own time, so many times more samples arrive."""

    name: ClassVar[str] = "rush"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"factor": (0, 1000), "every": (1, FOREVER)}
    factor: float = 4.0
    every: int = field(default=10, kw_only=True)


@dataclass(frozen=True, slots=True)
class Slow(Ranged):
    """At each client with the chance `clients`, only a `factor` of the samples arrives."""

    name: ClassVar[str] = "slow"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"factor": (0, 1000), "clients": (0, 1)}
    factor: float = 0.25
    clients: float = field(default=0.3, kw_only=True)
