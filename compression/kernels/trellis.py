"""Dependent quantization: the choice of integers along a row, by Viterbi's algorithm.

There are two quantizers, each with points a whole step apart: that of even multiples of half a step, and
that of zero and the odd ones. Which of them the next value meets follows from the parities of the integers
before it, through a machine of four states; so the points of both are at hand, half a step apart, at the
rate of one. (Trellis coded quantization, Marcellin and Fischer 1990, in the form that VVC and NNC gave it.)
A decoder only walks the machine; an encoder looks for the path with the least squared error + price x bits,
with the bits that the tables give at the start of the row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.frequencies import LAST, STRIDE, TOP, Costs, local_mean, near_of
from phloem.compression.kernels.jit import at, encoder_kernel, kernel, wide
from phloem.compression.kernels.rows import Levels, Values, noise_of

STATES = 4
DEAD, QUIET = 0.25, 14
"""Values below so many steps become zero, whatever the quantizer."""


@kernel
def successor(state: int, parity: int) -> int:
    """The state after an integer: from 0 to 0 or 2, from 1 to 2 or 0, from 2 to 1 or 3, from 3 to 3 or 1."""
    return (state >> 1) | (((state & 1) ^ parity) << 1)


@encoder_kernel
def bits_of(costs: Costs, context: int, last: int, noise: int, magnitude: int) -> np.float32:
    """The bits of a magnitude, its sign included."""
    many = magnitude >> noise
    if many < last:
        return np.float32(costs[at(context), at(many)] + np.float32(noise))
    rest = np.float32(many - last + 1)
    return np.float32(costs[at(context), at(last)] + np.float32(noise + 1) + np.float32(2) * np.log2(rest))


@encoder_kernel
def round_each(
    row: Values,
    inverse: float,
    price: float,
    levels: Levels,
    first: int,
    costs: Costs,
    largest: int,
    chosen: NDArray[np.int32],
) -> tuple[float, float]:
    """Set `chosen` to the magnitudes that are best each by itself, with the first quantizer.

    `first` is the first context. Gives the cost of the row in squared steps, and that of zeros.
    """
    bit = np.float32(price)
    factor = np.float32(inverse)
    most = np.float32(largest - 2)
    total = np.float32(0)
    square = np.float32(0)
    local = 0
    for j in range(row.size):
        size = min(abs(row[at(j)]) * factor, most)
        level = wide(levels[at(j)])
        best = 0
        zero = size * size
        square += zero
        noise = noise_of(level)
        context = first + STRIDE * (level - 2 * noise) + near_of(level, local)
        least = zero + bit * (costs[at(context), 0] + np.float32(noise))
        if size > 0.5:
            below = wide(size)
            last = wide(LAST[at(context - first)])
            for k in range(max(below, 1), below + 2):
                cost = (size - k) * (size - k) + bit * bits_of(costs, context, last, noise, k)
                if cost < least:
                    best, least = k, cost
        total += least
        chosen[at(j)] = best
        local = local_mean(local, best)
    return float(total), float(square)


@encoder_kernel
def choose(
    row: Values,
    inverse: float,
    price: float,
    levels: Levels,
    first: int,
    costs: Costs,
    largest: int,
    branches: NDArray[np.int32],
    survivors: NDArray[np.uint8],
    chosen: NDArray[np.int32],
) -> tuple[float, float]:
    """Set `chosen` to the magnitudes of the best path from state 0; give its cost and that of zeros.

    `branches` (columns, 4) and `survivors` (columns) are room to work in.
    """
    columns = row.size
    far = np.float32(1e30)
    cost0, cost1, cost2, cost3 = np.float32(0), far, far, far
    bit = np.float32(price)
    factor = np.float32(inverse)
    most = np.float32(largest - 2)
    half = np.float32(0.5)
    square = np.float32(0)
    local = 0
    for j in range(columns):
        size = min(abs(row[at(j)]) * factor, most)
        level = wide(levels[at(j)])
        noise = noise_of(level)
        context = first + STRIDE * (level - 2 * noise) + near_of(level, local)
        zero = size * size
        square += zero
        local = local_mean(local, wide(size + np.float32(0.4)))
        added = bit * np.float32(noise)
        zero0 = zero + bit * costs[at(context), 0] + added
        zero1 = zero + bit * costs[at(context + 1), 0] + added
        if size < DEAD and level < QUIET:
            survivors[at(j)] = 16
            cost0, cost1, cost2, cost3 = cost0 + zero0, cost2 + zero1, cost1 + zero0, cost3 + zero1
            continue
        # Of the two integers around a value one is even and one odd; no branch, for nobody could predict it.
        below = wide(size)
        even0, odd0 = (below + 1) & -2, below | 1
        below = wide(size + half)
        even1, odd1 = (below + 1) & -2, below | 1
        last = wide(LAST[at(context - first)])
        if below + 1 < last and level <= TOP:
            be0, bo0 = costs[at(context), at(even0)], costs[at(context), at(odd0)]
            be1, bo1 = costs[at(context + 1), at(even1)], costs[at(context + 1), at(odd1)]
        else:
            be0 = bits_of(costs, context, last, noise, even0)
            bo0 = bits_of(costs, context, last, noise, odd0)
            be1 = bits_of(costs, context + 1, last, noise, even1)
            bo1 = bits_of(costs, context + 1, last, noise, odd1)
        far_e0, far_o0 = size - np.float32(even0), size - np.float32(odd0)
        far_e1, far_o1 = size + half - np.float32(even1), size + half - np.float32(odd1)
        e0 = far_e0 * far_e0 + bit * be0
        o0 = far_o0 * far_o0 + bit * bo0
        e1 = far_e1 * far_e1 + bit * be1
        o1 = far_o1 * far_o1 + bit * bo1
        even0 = even0 if e0 < zero0 else 0
        e0 = min(e0, zero0)
        even1 = even1 if e1 < zero1 else 0
        e1 = zero1 if even1 == 0 else e1
        branches[at(j), 0] = even0
        branches[at(j), 1] = odd0
        branches[at(j), 2] = even1
        branches[at(j), 3] = odd1
        a, b = cost0 + e0, cost1 + o0
        c, d = cost2 + e1, cost3 + o1
        e, f = cost0 + o0, cost1 + e0
        g, h = cost2 + o1, cost3 + e1
        survivors[at(j)] = (a > b) | ((c > d) << 1) | ((e > f) << 2) | ((g > h) << 3)
        cost0, cost1, cost2, cost3 = min(a, b), min(c, d), min(e, f), min(g, h)
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
        packed = wide(survivors[at(j)])
        if packed == 16:
            chosen[at(j)] = 0
            best = (best >> 1) | ((best & 1) << 1)
            continue
        lower = (packed >> best) & 1
        parity = lower ^ (best >> 1)
        best = ((best & 1) << 1) | lower
        chosen[at(j)] = branches[at(j), at(2 * (best >> 1) + parity)]
    return float(least), float(square)
