"""Rows of values, decoded: the mirror of `encoding`, bounded by the shape and by what the words hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    CODE,
    HALF,
    RANGE,
    Models,
    State,
    Weights,
    Words,
    adapt_all,
    decode_bit,
    decode_plain,
    learn,
    mix,
    stretch,
)
from phloem.compression.kernels.jit import at, kernel
from phloem.compression.kernels.rows import (
    LARGEST,
    PLANE_PACE,
    column_pace,
    contexts,
    noise_bits,
    row_pace,
    seen,
    towards,
)
from phloem.compression.kernels.tables import ESCAPE, INPUTS, MODELS, PLAIN, ROW_FLAG, UNARY, WEIGHTS
from phloem.compression.kernels.trellis import successor

LARGEST_PREFIX = 25


@kernel
def decode_rows(
    dependent: int,
    kind: int,
    start: int,
    first: int,
    models: Models,
    weights: Weights,
    state: State,
    words: Words,
    activity: State,
    halves: NDArray[np.int32],
) -> int:
    """Decode into `halves` (rows, columns); give 0, or -1 where a magnitude is beyond `LARGEST`."""
    rows, columns = halves.shape
    base = kind * MODELS
    trust = kind * WEIGHTS
    code, width = state[CODE], state[RANGE]
    plane = start
    machine = 0
    for i in range(rows):
        code, width, some = decode_plain(code, width, models, base + PLAIN + ROW_FLAG, state, words)
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
            column = activity[at(j)]
            quantizer = machine >> 1
            a, b, c, d = contexts(row, column, plane, before, last, quantizer)
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
            points = 0
            if magnitude > 0:
                points = 2 * magnitude - quantizer
                if points > LARGEST:
                    return -1
                code, width, negative = decode_bit(code, width, HALF, state, words)
                halves[at(i), at(j)] = -points if negative else points
            else:
                halves[at(i), at(j)] = 0
            machine = successor(machine, magnitude & dependent)
            row = towards(row, seen(points), row_pace(j))
            activity[at(j)] = towards(column, seen(points), slow)
            plane = towards(plane, seen(points), PLANE_PACE)
            before = last
            last = min(magnitude, 2)
    state[CODE], state[RANGE] = code, width
    return 0
