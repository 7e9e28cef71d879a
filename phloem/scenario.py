"""What happens to clients' streams, as text: `"swap:at=0.5,classes=0.6 | stagger:0.2 | label_delay:20"`.

| step | what happens |
|---|---|
| `swap:CLASSES` | the labels of that share of the classes are permuted: what was right is wrong |
| `rotate:DEGREES`, `noise:SD`, `gain:FACTOR` | inputs are turned (images), blurred by noise, scaled |
| `appear:COUNT` | so many classes do not come before a moment |
| `tasks:COUNT` | the classes come in so many groups, one after the other |
| `burst:STRENGTH` | again and again one class makes up that share of the samples for a while |
| `stagger:SPREAD` | clients' moments come later, each client's by its own part of that share of its stream |
| `label_delay:SAMPLES` | labels come so many samples later |
| `poisson`, `rush:FACTOR`, `slow:FACTOR` | how many samples arrive in a round: drawn, in rushes, fewer |

Each step's other settings are in `phloem.steps`. Changes are applied in the order of the text, after what
moves samples about; every draw comes from the run's seed. A scenario's text reads back to an equal one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from phloem.compression.text import build, render, suggest
from phloem.errors import CodecError, DataError
from phloem.steps import (
    Appear,
    Burst,
    Change,
    Gain,
    LabelDelay,
    Noise,
    Poisson,
    Ranged,
    Rotate,
    Rush,
    Slow,
    Stagger,
    Swap,
    Tasks,
)

KINDS: dict[str, type[Ranged]] = {
    kind.name: kind
    for kind in (Swap, Rotate, Noise, Gain, Appear, Tasks, Burst, Stagger, LabelDelay, Poisson, Rush, Slow)
}
OFTEN = (Change, Appear, Burst)
LONGEST_TEXT = 2000

S = TypeVar("S", bound=Ranged)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps in order; none for streams as they are."""

    steps: tuple[Ranged, ...] = ()

    def __str__(self) -> str:
        return " | ".join(map(render, self.steps))

    @property
    def changes(self) -> tuple[Change, ...]:
        """The steps that change what a sample is."""
        return tuple(step for step in self.steps if isinstance(step, Change))

    def one(self, kind: type[S]) -> S | None:
        """Return the step of a kind, if there is one."""
        return next((step for step in self.steps if isinstance(step, kind)), None)


def scenario(text: str) -> Scenario:
    """Read a scenario's text; empty for none.

    Raises:
        DataError: a step is unknown, misspelt, out of range, or there twice where one makes sense.
    """
    if len(text) > LONGEST_TEXT:
        raise DataError(
            f"A scenario should have {LONGEST_TEXT} characters at most. Found {len(text)}. Shorten it."
        )
    steps = tuple(map(_step, text.split("|"))) if text.strip() else ()
    for step in steps:
        if not isinstance(step, OFTEN) and sum(isinstance(other, type(step)) for other in steps) > 1:
            raise DataError(
                f"A scenario should have `{step.name}` once. Found it twice in {text!r}. Drop one."
            )
    return Scenario(steps)


def _step(text: str) -> Ranged:
    name, _, arguments = (piece.strip() for piece in text.partition(":"))
    kind = KINDS.get(name)
    if kind is None:
        raise DataError(
            f"A scenario should be made of {', '.join(KINDS)}. Found {name!r}.{suggest(name, KINDS)} "
            "Write it as in 'swap:at=0.5 | stagger:0.2'."
        )
    try:
        return build(kind, name, arguments)
    except CodecError as error:
        raise DataError(f"{error} Write it as in 'swap:at=0.5 | stagger:0.2'.") from None
