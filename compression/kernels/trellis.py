"""Dependent quantization: the choice of integers along a row, by Viterbi's algorithm.

There are two quantizers, each with points a whole step apart: that of even multiples of half a step, and
that of zero and the odd ones. Which of them the next value meets follows from the parities of the integers
before it, through a machine of four states; so the points of both are at hand, half a step apart, at the
rate of one. (Trellis coded quantization, Marcellin and Fischer 1990, in the form that VVC and NNC gave it.)
A decoder only walks the machine; an encoder looks for the path with the least squared error + price x bits,
with bits guessed from the activity around each value and from what was written before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, encoder_kernel, kernel, wide
from phloem.compression.kernels.tables import CENTER, LEVELS

STATES = 4
GUESSED = 24
"""Magnitudes whose bits are in the table; from there on each costs as much more as the last."""

STEEPEST = 2.0
"""Magnitudes never become rarer by more than this, in nats a step: tails are heavier than Laplace's."""

LN2 = math.log(2)
RAREST = 1 / 4096
FIRST_WEIGHT, MOST_WEIGHT = 150.0, 3000.0
"""How many values the first guess counts for, and after how many older ones fade."""

_FIRST = (0.5, 0.25)
"""Where, in steps, the trellis begins to leave zero with either quantizer."""


@kernel
def successor(state: int, parity: int) -> int:
    """The state after an integer: from 0 to 0 or 2, from 1 to 2 or 0, from 2 to 1 or 3, from 3 to 3 or 1."""
    return (state >> 1) | (((state & 1) ^ parity) << 1)


def _laplace_mean(activity: float) -> float:
    """The mean magnitude of the Laplace values whose rounded magnitudes have this mean."""
    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        rounded = math.exp(-0.5 / middle) / -math.expm1(-1 / middle)
        low, high = (middle, high) if rounded < activity else (low, middle)
    return low


def fresh_chances(kinds: int) -> NDArray[np.float32]:
    """By kind, level and quantizer the chance that a magnitude exceeds 0, 1, 2 and so on, having come there.

    Last comes how many values that guess counts for.
    """
    table = np.empty((kinds, LEVELS, 2, GUESSED + 1), np.float32)
    for level, center in enumerate(CENTER):
        mean = _laplace_mean(center / 65536)
        table[:, level] = math.exp(max(-1 / mean, -STEEPEST))
        for quantizer, first in enumerate(_FIRST):
            table[:, level, quantizer, 0] = math.exp(-first / mean)
    table = np.clip(table, RAREST, 1 - RAREST)
    table[..., GUESSED] = FIRST_WEIGHT
    return table


@encoder_kernel
def price_magnitudes(chances: NDArray[np.float32], guess: NDArray[np.float32]) -> None:
    """Set `guess` to the bits of each magnitude, its sign included, from the chances of one kind."""
    for level in range(LEVELS):
        for quantizer in range(2):
            before = 0.0
            for k in range(GUESSED):
                more = np.float64(chances[at(level), at(quantizer), at(k)])
                guess[at(level), at(quantizer), at(k)] = before - math.log(1.0 - more) / LN2
                before -= math.log(more) / LN2
                if k == 0:
                    before += 1.0


@encoder_kernel
def witness(chances: NDArray[np.float32], level: int, quantizer: int, magnitude: int) -> None:
    """Move the chances towards a magnitude that was written."""
    weight = chances[at(level), at(quantizer), GUESSED]
    if weight < MOST_WEIGHT:
        chances[at(level), at(quantizer), GUESSED] = weight + np.float32(1)
    rate = np.float32(1) / weight
    for k in range(min(magnitude + 1, GUESSED)):
        more = chances[at(level), at(quantizer), at(k)]
        more += ((1 if magnitude > k else 0) - more) * rate
        chances[at(level), at(quantizer), at(k)] = min(max(more, RAREST), 1 - RAREST)


@encoder_kernel
def bits_of(guess: NDArray[np.float32], level: int, quantizer: int, magnitude: int) -> float:
    """The guessed bits of a magnitude."""
    index = min(magnitude, GUESSED - 1)
    bits = guess[at(level), at(quantizer), at(index)]
    if magnitude > index:
        bits += (magnitude - index) * (bits - guess[at(level), at(quantizer), at(index - 1)])
    return float(bits)


@encoder_kernel
def round_each(
    row: NDArray[np.float32],
    inverse: float,
    price: float,
    levels: NDArray[np.uint8],
    guess: NDArray[np.float32],
    largest: int,
    chosen: NDArray[np.int32],
) -> None:
    """Set `chosen` to the magnitudes that are best each by itself, with the first quantizer."""
    bit = np.float32(price)
    for j in range(row.size):
        size = np.float32(min(abs(row[at(j)]) * inverse, largest - 2.0))
        level = wide(levels[at(j)])
        best = 0
        below = wide(size)
        least = size * size + bit * guess[at(level), 0, 0]
        for k in range(max(below, 1), below + 2):
            cost = (size - k) * (size - k) + bit * bits_of(guess, level, 0, k)
            if cost < least:
                best, least = k, cost
        chosen[at(j)] = best


@encoder_kernel
def choose(
    row: NDArray[np.float32],
    inverse: float,
    price: float,
    levels: NDArray[np.uint8],
    guess: NDArray[np.float32],
    state: int,
    largest: int,
    branches: NDArray[np.int32],
    survivors: NDArray[np.uint8],
    chosen: NDArray[np.int32],
) -> float:
    """Set `chosen` to the magnitudes of the best path from `state`; give its cost in squared steps.

    `branches` (columns, 4) and `survivors` (columns, 4) are room to work in.
    """
    columns = row.size
    far = np.float32(1e30)
    cost0, cost1, cost2, cost3 = far, far, far, far
    if state == 0:
        cost0 = np.float32(0)
    elif state == 1:
        cost1 = np.float32(0)
    elif state == 2:
        cost2 = np.float32(0)
    else:
        cost3 = np.float32(0)
    bit = np.float32(price)
    for j in range(columns):
        size = np.float32(min(abs(row[at(j)]) * inverse, largest - 2.0))
        level = wide(levels[at(j)])
        e0, e1, o0, o1 = far, far, far, far
        for quantizer in range(2):
            shift = np.float32(0.5 * quantizer)
            below = wide(size + shift)
            for k in range(below, below + 2):
                error = size - (k - shift if k > 0 else np.float32(0))
                cost = error * error + bit * bits_of(guess, level, quantizer, k)
                if quantizer == 0:
                    if k & 1:
                        o0 = cost
                        branches[at(j), 1] = k
                    else:
                        e0 = cost
                        branches[at(j), 0] = k
                elif k & 1:
                    o1 = cost
                    branches[at(j), 3] = k
                else:
                    e1 = cost
                    branches[at(j), 2] = k
        zero0 = size * size + bit * guess[at(level), 0, 0]
        if zero0 < e0:
            e0 = zero0
            branches[at(j), 0] = 0
        zero1 = size * size + bit * guess[at(level), 1, 0]
        if zero1 < e1:
            e1 = zero1
            branches[at(j), 2] = 0
        a, b = cost0 + e0, cost1 + o0
        survivors[at(j), 0] = 0 if a <= b else 1
        next0 = min(a, b)
        a, b = cost0 + o0, cost1 + e0
        survivors[at(j), 2] = 0 if a <= b else 1
        next2 = min(a, b)
        a, b = cost2 + e1, cost3 + o1
        survivors[at(j), 1] = 0 if a <= b else 1
        next1 = min(a, b)
        a, b = cost2 + o1, cost3 + e1
        survivors[at(j), 3] = 0 if a <= b else 1
        next3 = min(a, b)
        cost0, cost1, cost2, cost3 = next0, next1, next2, next3
    best = 0
    least = cost0
    if cost1 < least:
        best, least = 1, cost1
    if cost2 < least:
        best, least = 2, cost2
    if cost3 < least:
        best, least = 3, cost3
    for back in range(columns):
        j = columns - 1 - back
        low = wide(survivors[at(j), at(best)])
        before = ((best & 1) << 1) | low
        parity = low ^ (best >> 1)
        chosen[at(j)] = branches[at(j), at(2 * (best & 1) + parity)]
        best = before
    return float(least)
