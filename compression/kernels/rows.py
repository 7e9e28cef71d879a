"""Rows of quantized values, coded one after another with what is known of their row and column.

The expected magnitude of a value is read off two running means that both sides keep: that of its row so far,
and that of its column over the rows before (`activity`). Nothing about rows and columns is sent but one flag
a row that is all zero. Magnitudes are unary decisions, mixed; beyond `UNARY` Exp-Golomb; low bits that the
activity shows to be noise, and signs, cost one bit each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    CODE,
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
    decode_bit,
    decode_plain,
    encode_bit,
    encode_plain,
    learn,
    mix,
    stretch,
)
from phloem.compression.kernels.jit import at, kernel, wide
from phloem.compression.kernels.tables import (
    BINS,
    BY_BOTH,
    BY_COLUMN,
    BY_PRODUCT,
    BY_ROW,
    COARSE,
    COST,
    ESCAPE,
    FULL_ACTIVITY,
    INPUTS,
    LEVEL,
    LEVELS,
    MODELS,
    PLAIN,
    ROW_FLAG,
    UNARY,
    WEIGHTS,
)

Values = NDArray[np.float32]
Integers = NDArray[np.int32]

LARGEST = 1 << 24
"""Largest magnitude: the last at which every integer is a float32."""

LARGEST_PREFIX = 25
MOST_WORDS = 80
"""More words than one value can take, were each of its decisions to cost 16 bits."""

ROW_PACE, COLUMN_PACE, PLANE_PACE = 5, 6, 10
"""Running means move by one part in 2**pace, once so many values have been seen."""

FIRST_ROW_PACE, FIRST_COLUMN_PACE = 3, 1
"""The first paces: what a column showed in the first row is all that is known of it in the second."""

NOISE_LEVEL = 2048
SIGN_AND_MORE = 1.6
"""Bits that a magnitude of one costs besides its first decision, for the choice between zero and one."""


@kernel
def level(activity: int) -> int:
    """The level of an activity."""
    return wide(LEVEL[at(min(activity, FULL_ACTIVITY))])


@kernel
def towards(mean: int, value: int, pace: int) -> int:
    """Move a running mean towards a value, symmetrically up and down."""
    if value >= mean:
        return mean + ((value - mean) >> pace)
    return mean - ((mean - value) >> pace)


@kernel
def octaves(number: int) -> int:
    """The bits that a number has, up to 13."""
    return (level(number) + 1) >> 1


@kernel
def noise_bits(row: int, column: int) -> int:
    """How many low bits of a magnitude are noise at this activity."""
    bits = 0
    mean = (row + column) >> 1
    while (mean >> bits) > NOISE_LEVEL:
        bits += 1
    return bits


@kernel
def contexts(row: int, column: int, plane: int, before: int, last: int) -> tuple[int, int, int, int]:
    """Where the four families of models keep those for this place."""
    r, c = level(row), level(column)
    both = min(max(r + c - level(plane), 0), LEVELS - 1)
    near = min(before + last, 2)
    a = BY_BOTH + ((r >> 1) * COARSE + (c >> 1)) * BINS
    b = BY_ROW + (r * 9 + last * 3 + before) * BINS
    return a, b, BY_COLUMN + (c * 3 + near) * BINS, BY_PRODUCT + (both * 3 + near) * BINS


@kernel
def encode_rows(
    x: Values,
    inverse: float,
    price: float,
    offset: float,
    kind: int,
    start: int,
    models: Models,
    weights: Weights,
    state: State,
    words: Words,
    activity: State,
    q: Integers,
) -> int:
    """Quantize and encode `x` (rows, columns) times `inverse`; give 0, or -1 where `words` is full.

    `price` is Lagrange's: what one bit costs in squared quantization steps. With price 0 and offset 0.5
    integers are coded as they are. `start` is the activity to begin with, `activity` that of the columns.
    """
    rows, columns = x.shape
    base = kind * MODELS
    trust = kind * WEIGHTS
    low, width = state[LOW], state[RANGE]
    plane = start
    for i in range(rows):
        if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
            return -1
        some = 0
        for j in range(columns):
            if abs(x[at(i), at(j)]) * inverse > 0.5 + price:
                some = 1
                break
        low, width = encode_plain(low, width, models, base + PLAIN + ROW_FLAG, some, state, words)
        row = plane
        slow = min(FIRST_COLUMN_PACE + octaves(i), COLUMN_PACE)
        before = 0
        last = 0
        for j in range(columns):
            column = activity[at(j)]
            if not some:
                q[at(i), at(j)] = 0
                activity[at(j)] = column - (column >> slow)
                continue
            if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
                return -1
            value = x[at(i), at(j)] * inverse
            size = abs(value)
            a, b, c, d = contexts(row, column, plane, before, last)
            a += base
            b += base
            c += base
            d += base
            noise = noise_bits(row, column)
            sa, sb, sc, sd = stretch(models, a), stretch(models, b), stretch(models, c), stretch(models, d)
            chance = mix(weights, trust, sa, sb, sc, sd)
            magnitude = min(wide(size + offset), LARGEST)
            if noise == 0 and size < 2 and magnitude <= 1:
                gain = size * size - (size - 1) * (size - 1)
                extra = COST[at(chance >> 4)] + SIGN_AND_MORE - COST[at((65536 - chance) >> 4)]
                magnitude = 1 if size >= 0.5 and gain > price * extra else 0
            many = magnitude >> noise
            unary = 0
            while True:
                bit = 1 if many > unary else 0
                low, width = encode_bit(low, width, chance, bit, state, words)
                learn(weights, trust + INPUTS * unary, (bit << 16) - chance, sa, sb, sc, sd)
                adapt_all(models, a + unary, b + unary, c + unary, d + unary, bit)
                if bit == 0:
                    break
                unary += 1
                if unary == UNARY:
                    break
                sa, sb = stretch(models, a + unary), stretch(models, b + unary)
                sc, sd = stretch(models, c + unary), stretch(models, d + unary)
                chance = mix(weights, trust + INPUTS * unary, sa, sb, sc, sd)
            if unary == UNARY:
                rest = many - UNARY + 1
                prefix = 0
                while (2 << prefix) <= rest:
                    low, width = encode_plain(
                        low, width, models, base + PLAIN + ESCAPE + prefix, 1, state, words
                    )
                    prefix += 1
                low, width = encode_plain(low, width, models, base + PLAIN + ESCAPE + prefix, 0, state, words)
                for place in range(prefix):
                    bit = (rest >> (prefix - 1 - place)) & 1
                    low, width = encode_bit(low, width, HALF, bit, state, words)
            for place in range(noise):
                bit = (magnitude >> (noise - 1 - place)) & 1
                low, width = encode_bit(low, width, HALF, bit, state, words)
            if magnitude > 0:
                low, width = encode_bit(low, width, HALF, 1 if value < 0 else 0, state, words)
            q[at(i), at(j)] = -magnitude if value < 0 else magnitude
            seen = min(magnitude, 65535) << 8
            row = towards(row, seen, min(FIRST_ROW_PACE + octaves(j >> 2), ROW_PACE))
            activity[at(j)] = towards(column, seen, slow)
            plane = towards(plane, seen, PLANE_PACE)
            before = last
            last = min(magnitude, 2)
    state[LOW], state[RANGE] = low, width
    return 0


@kernel
def decode_rows(
    kind: int,
    start: int,
    models: Models,
    weights: Weights,
    state: State,
    words: Words,
    activity: State,
    q: Integers,
) -> int:
    """Decode into `q` (rows, columns); give 0, or -1 where a magnitude is beyond `LARGEST`."""
    rows, columns = q.shape
    base = kind * MODELS
    trust = kind * WEIGHTS
    code, width = state[CODE], state[RANGE]
    plane = start
    for i in range(rows):
        code, width, some = decode_plain(code, width, models, base + PLAIN + ROW_FLAG, state, words)
        row = plane
        slow = min(FIRST_COLUMN_PACE + octaves(i), COLUMN_PACE)
        before = 0
        last = 0
        for j in range(columns):
            column = activity[at(j)]
            if not some:
                q[at(i), at(j)] = 0
                activity[at(j)] = column - (column >> slow)
                continue
            a, b, c, d = contexts(row, column, plane, before, last)
            a += base
            b += base
            c += base
            d += base
            noise = noise_bits(row, column)
            unary = 0
            while unary < UNARY:
                sa, sb = stretch(models, a + unary), stretch(models, b + unary)
                sc, sd = stretch(models, c + unary), stretch(models, d + unary)
                chance = mix(weights, trust + INPUTS * unary, sa, sb, sc, sd)
                code, width, bit = decode_bit(code, width, chance, state, words)
                learn(weights, trust + INPUTS * unary, (bit << 16) - chance, sa, sb, sc, sd)
                adapt_all(models, a + unary, b + unary, c + unary, d + unary, bit)
                if bit == 0:
                    break
                unary += 1
            magnitude = unary
            if unary == UNARY:
                prefix = 0
                while prefix < LARGEST_PREFIX:
                    code, width, bit = decode_plain(
                        code, width, models, base + PLAIN + ESCAPE + prefix, state, words
                    )
                    if bit == 0:
                        break
                    prefix += 1
                rest = 1
                for _ in range(prefix):
                    code, width, bit = decode_bit(code, width, HALF, state, words)
                    rest = 2 * rest + bit
                magnitude = rest + UNARY - 1
            for _ in range(noise):
                code, width, bit = decode_bit(code, width, HALF, state, words)
                magnitude = 2 * magnitude + bit
            if magnitude > LARGEST:
                return -1
            negative = 0
            if magnitude > 0:
                code, width, negative = decode_bit(code, width, HALF, state, words)
            q[at(i), at(j)] = -magnitude if negative else magnitude
            seen = min(magnitude, 65535) << 8
            row = towards(row, seen, min(FIRST_ROW_PACE + octaves(j >> 2), ROW_PACE))
            activity[at(j)] = towards(column, seen, slow)
            plane = towards(plane, seen, PLANE_PACE)
            before = last
            last = min(magnitude, 2)
    state[CODE], state[RANGE] = code, width
    return 0
