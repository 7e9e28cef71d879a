"""Rows of values, quantized along a trellis and coded one after another.

A row that is all zero costs one flag. Magnitudes are unary decisions, mixed; beyond `UNARY` Exp-Golomb; low
bits that the activity shows to be noise, and signs, cost one bit each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    HALF,
    LOW,
    RANGE,
    WAITING,
    WRITTEN,
    Models,
    State,
    Weights,
    Words,
    adapt_all,
    encode_bit,
    encode_plain,
    learn,
    mix,
    stretch,
)
from phloem.compression.kernels.jit import at, kernel, wide
from phloem.compression.kernels.rows import (
    LARGEST,
    PLANE_PACE,
    column_pace,
    contexts,
    noise_bits,
    product_level,
    row_pace,
    seen,
    towards,
)
from phloem.compression.kernels.tables import ESCAPE, INPUTS, MODELS, PLAIN, ROW_FLAG, UNARY, WEIGHTS
from phloem.compression.kernels.trellis import choose, price_magnitudes, round_each, successor, witness

MOST_WORDS = 80
"""More words than one value can take, were each of its decisions to cost 16 bits."""

REFRESH = 500
"""After so many values the guess of bits is worked out anew."""


@kernel
def encode_rows(
    x: NDArray[np.float32],
    inverse: float,
    price: float,
    dependent: int,
    kind: int,
    start: int,
    first: int,
    models: Models,
    weights: Weights,
    state: State,
    words: Words,
    activity: State,
    chances: NDArray[np.float32],
    guess: NDArray[np.float32],
    levels: NDArray[np.uint8],
    branches: NDArray[np.int32],
    survivors: NDArray[np.uint8],
    chosen: NDArray[np.int32],
    halves: NDArray[np.int32],
) -> int:
    """Quantize and encode `x` (rows, columns) times `inverse`; give 0, or -1 where `words` is full.

    `price` is Lagrange's: what one bit costs in squared steps. `start` is the activity to begin with,
    `activity` that of the columns, `chances` those learned so far; `guess`, `levels`, `branches`, `survivors`
    and `chosen` are room to work in. What the decoder will see is left in `halves`, in half steps.
    """
    rows, columns = x.shape
    base = kind * MODELS
    trust = kind * WEIGHTS
    low, width = state[LOW], state[RANGE]
    plane = start
    machine = 0
    fresh = REFRESH
    for i in range(rows):
        if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
            return -1
        largest = 0.0
        for j in range(columns):
            largest = max(largest, abs(x[at(i), at(j)]))
        some = 0
        if largest * inverse > 0.25:
            expected = plane
            for j in range(columns):
                levels[at(j)] = product_level(expected, activity[at(j)], plane)
                size = wide(min(abs(x[at(i), at(j)]) * inverse + 0.4, 32768.0))
                expected = towards(expected, seen(2 * size), row_pace(j))
            if fresh >= REFRESH:
                price_magnitudes(chances, guess)
                fresh = 0
            fresh += columns
            if dependent == 0:
                round_each(x[at(i)], inverse, price, levels, guess, LARGEST >> 1, chosen)
            else:
                choose(
                    x[at(i)],
                    inverse,
                    price,
                    levels,
                    guess,
                    machine,
                    LARGEST >> 1,
                    branches,
                    survivors,
                    chosen,
                )
            for j in range(columns):
                if chosen[at(j)] > 0:
                    some = 1
                    break
        low, width = encode_plain(low, width, models, base + PLAIN + ROW_FLAG, some, state, words)
        slow = column_pace(first + i)
        if not some:
            for j in range(columns):
                halves[at(i), at(j)] = 0
                activity[at(j)] -= activity[at(j)] >> slow
            continue
        row = plane
        before = 0
        last = 0
        for j in range(columns):
            if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
                return -1
            column = activity[at(j)]
            quantizer = machine >> 1
            a, b, c, d = contexts(row, column, plane, before, last, quantizer)
            a += base
            b += base
            c += base
            d += base
            noise = noise_bits(row, column)
            magnitude = wide(chosen[at(j)])
            many = magnitude >> noise
            unary = 0
            while unary < UNARY:
                sa, sb = stretch(models, a + unary), stretch(models, b + unary)
                sc, sd = stretch(models, c + unary), stretch(models, d + unary)
                chance = mix(weights, trust + INPUTS * unary, sa, sb, sc, sd)
                bit = 1 if many > unary else 0
                low, width = encode_bit(low, width, chance, bit, state, words)
                learn(weights, trust + INPUTS * unary, (bit << 16) - chance, sa, sb, sc, sd)
                adapt_all(models, a + unary, b + unary, c + unary, d + unary, bit)
                if bit == 0:
                    break
                unary += 1
            if unary == UNARY:
                rest = many - UNARY + 1
                prefix = 0
                place = base + PLAIN + ESCAPE
                while (2 << prefix) <= rest:
                    low, width = encode_plain(low, width, models, place + prefix, 1, state, words)
                    prefix += 1
                low, width = encode_plain(low, width, models, place + prefix, 0, state, words)
                for k in range(prefix):
                    bit = (rest >> (prefix - 1 - k)) & 1
                    low, width = encode_bit(low, width, HALF, bit, state, words)
            for k in range(noise):
                bit = (magnitude >> (noise - 1 - k)) & 1
                low, width = encode_bit(low, width, HALF, bit, state, words)
            witness(chances, wide(levels[at(j)]), quantizer, magnitude)
            points = 0
            if magnitude > 0:
                negative = 1 if x[at(i), at(j)] < 0 else 0
                low, width = encode_bit(low, width, HALF, negative, state, words)
                points = 2 * magnitude - quantizer
                halves[at(i), at(j)] = -points if negative else points
            else:
                halves[at(i), at(j)] = 0
            machine = successor(machine, magnitude & dependent)
            row = towards(row, seen(points), row_pace(j))
            activity[at(j)] = towards(column, seen(points), slow)
            plane = towards(plane, seen(points), PLANE_PACE)
            before = last
            last = min(magnitude, 2)
    state[LOW], state[RANGE] = low, width
    return 0
