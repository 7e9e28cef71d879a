"""Rate control: the quantization step at which a codec meets its target.

Steps are float32 numbers of 20 bits, so their bit patterns are whole numbers that grow with the step, 2048 an
octave. The search is a regula falsi on the logarithm of what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

STEP_BITS = 20
LEAST_CODE, MOST_CODE = 0x0080 << 4, 0x7F00 << 4
"""The least normal float32, and 2**127."""

CODES_AN_OCTAVE = 2048
PRICE = 0.085
"""Lagrange's price of a bit in squared steps; from 0.08 to 0.12 nothing changes much."""

MOST_PROBES = 14
CLOSE = 0.985
"""A measure within this share under its target ends the search."""

FARTHEST = 1.5
"""At most so many octaves lie between a step and the next one that is tried."""

FLATTEST, STEEPEST = 0.1, 30.0
"""The slopes that are believed, in octaves of the measure for one of the step."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Probe(Generic[T]):
    """A step that was tried: the measure with a target, what should be small besides, and what was made."""

    code: int
    measure: float
    loss: float
    made: T


@dataclass(slots=True)
class Path:
    """The way to a target: where the measure was last seen on either side of it, and how it moves."""

    target: float
    slope: float
    """How the logarithm of the measure moves with the step's: an error grows, a size falls."""

    under: tuple[int, float] | None = None
    over: tuple[int, float] | None = None
    last: tuple[int, float] | None = None

    @property
    def bracketed(self) -> bool:
        """Whether the target lies between two probes."""
        return self.under is not None and self.over is not None

    def next_code(self, code: int, measure: float) -> int:
        """Where to look next, after `measure` was found at `code`."""
        here = code, _log2(measure)
        if self.last and self.last[0] != code:
            seen = (here[1] - self.last[1]) / (code - self.last[0]) * CODES_AN_OCTAVE
            if seen * self.slope > 0:
                self.slope = math.copysign(min(max(abs(seen), FLATTEST), STEEPEST), self.slope)
        self.last = here
        aim = _log2(self.target) + math.log2((1 + CLOSE) / 2)
        if measure <= self.target:
            self.under = here
        else:
            self.over = here
        if self.under and self.over:
            return _between(self.under, self.over, aim)
        far = min(max((aim - here[1]) / self.slope, -FARTHEST), FARTHEST)
        return min(max(code + _away(far * CODES_AN_OCTAVE), LEAST_CODE), MOST_CODE)


def step_of(code: int) -> float:
    """The step of a code."""
    return float(np.array([code << 12], np.uint32).view(np.float32)[0])


def code_of(step: float) -> int:
    """The code of the largest step that is not larger, kept within bounds."""
    code = int(np.array([min(step, 1e38)], np.float32).view(np.uint32)[0]) >> 12
    return min(max(code, LEAST_CODE), MOST_CODE)


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """Of the probes within a target the one with the least loss; of those beyond it the last."""

    best: Probe[T] | None
    over: Probe[T] | None


def search(attempt: Callable[[int], Probe[T]], path: Path, start: int) -> Found[T]:
    """Look for the step whose measure comes nearest to the target without exceeding it."""
    over: Probe[T] | None = None
    best: Probe[T] | None = None
    code = start
    for _ in range(MOST_PROBES):
        probe = attempt(code)
        if probe.measure > path.target:
            over = probe
        elif best is None or probe.loss < best.loss:
            best = probe
        if CLOSE * path.target <= probe.measure <= path.target:
            break
        code = path.next_code(probe.code, probe.measure)
        if code == probe.code:
            break
    return Found(best, over)


def _between(under: tuple[int, float], over: tuple[int, float], aim: float) -> int:
    """The code where a line between two probes meets the aim; `under`'s where nothing lies between them."""
    width = abs(over[0] - under[0])
    if width <= 1:
        return under[0]
    low, high = under[1], over[1]
    share = (aim - low) / (high - low) if high - low < 3 else 0.5
    moved = min(max(round(share * width), 1 + width // 16), width - 1 - width // 16)
    return under[0] + (moved if over[0] > under[0] else -moved)


def _away(far: float) -> int:
    """A whole number that is not zero."""
    return round(far) or (1 if far > 0 else -1)


def _log2(measure: float) -> float:
    return math.log2(min(max(measure, 1e-300), 1e300))
