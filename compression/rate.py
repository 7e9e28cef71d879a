"""Rate control: the quantization step at which a codec meets its target.

Steps are float32 numbers of 16 bits, so their bit patterns are whole numbers that grow with the step, 128 an
octave. Between two steps lie four shades of Lagrange's price. The search is a regula falsi on the logarithm
of what is measured; each probe is a real encoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

LEAST_CODE, MOST_CODE = 0x0080, 0x7F00
"""The least normal float32, and 2**127."""

SHADES = 4
KNOBS_AN_OCTAVE = 128 * SHADES
PRICE = 0.085
"""Lagrange's price of a bit in squared steps; from 0.08 to 0.12 nothing changes much."""

SHADE = 0.04
"""What a shade adds to the price, as a share."""

MOST_PROBES = 16
CLOSE = 0.985
"""A measure within this share under its target ends the search."""

LEAST_MOVE = KNOBS_AN_OCTAVE // 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Probe(Generic[T]):
    """A knob that was tried: the measure with a target, what should be small besides, and what was made."""

    knob: int
    measure: float
    loss: float
    made: T


def step_of(code: int) -> float:
    """The step of a code."""
    return float(np.array([code << 16], np.uint32).view(np.float32)[0])


def code_of(step: float) -> int:
    """The code of the largest step that is not larger, kept within bounds."""
    code = int(np.array([min(step, 1e38)], np.float32).view(np.uint32)[0]) >> 16
    return min(max(code, LEAST_CODE), MOST_CODE)


def price_of(knob: int) -> float:
    """The price at a knob."""
    return PRICE * (1 + SHADE * (knob % SHADES))


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """Of the probes within a target the one with the least loss; of those beyond it the last."""

    best: Probe[T] | None
    over: Probe[T] | None


def search(attempt: Callable[[int], Probe[T]], target: float, start: int, rising: bool) -> Found[T]:
    """Look for the knob whose measure comes nearest to `target` without exceeding it.

    `rising` says that the measure grows with the step, as an error does; a size falls.
    """
    aim = math.log2(target * (1 + CLOSE) / 2)
    towards_target = 1 if rising else -1
    under: Probe[T] | None = None
    over: Probe[T] | None = None
    best: Probe[T] | None = None
    knob, reach = start, 1
    for _ in range(MOST_PROBES):
        probe = attempt(knob)
        if probe.measure <= target:
            under = probe
            if best is None or probe.loss < best.loss:
                best = probe
            if probe.measure >= CLOSE * target:
                break
        else:
            over = probe
        if under and over:
            next_knob = _between(under, over, aim)
        else:
            sign = towards_target if under else -towards_target
            next_knob = probe.knob + sign * _move(aim, probe.measure, reach)
            next_knob = min(max(next_knob, LEAST_CODE * SHADES), MOST_CODE * SHADES)
            reach *= 2
        if next_knob == probe.knob:
            break
        knob = next_knob
    return Found(best, over)


def _move(aim: float, measure: float, reach: int) -> int:
    """How far to go while all probes lie on one side: an octave for a factor of two, and ever farther."""
    far = min(abs(_log2(measure) - aim), 10.0)
    return max(round(far * KNOBS_AN_OCTAVE), LEAST_MOVE * reach)


def _between(under: Probe[T], over: Probe[T], aim: float) -> int:
    """The knob where a line between two probes meets the aim; `under`'s where nothing lies between them."""
    width = abs(over.knob - under.knob)
    if width <= 1:
        return under.knob
    low, high = _log2(under.measure), _log2(over.measure)
    share = (aim - low) / (high - low) if high - low < 3 else 0.5
    moved = min(max(round(share * width), 1 + width // 16), width - 1 - width // 16)
    return under.knob + (moved if over.knob > under.knob else -moved)


def _log2(measure: float) -> float:
    return math.log2(min(max(measure, 1e-300), 1e300))
