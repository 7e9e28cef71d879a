"""Symbols of up to eight bits, coded one after another with what is known of their row and column.

A symbol is up to eight binary decisions, from its highest bit down. How far symbols lie from the middle one
is followed in running means: that of the row so far, and that of the column over the rows before. Four
models, each with another view of these and of the last two symbols, predict each decision, and are mixed.
Positions are coded here too, as bits. A row of middle symbols alone costs one decision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    CODE,
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
from phloem.compression.kernels.tables import COUNT_BITS, INPUTS

Symbols = NDArray[np.uint8]

FULL = 1 << 20
"""The running mean where all symbols lie at the ends."""

HALF_TABLE = 1 << 10
CLASSES = 32
COARSE = CLASSES // 2
ROW_PACE, COLUMN_PACE = 5, 5
MOST_WORDS = 16
"""More words than one symbol and one row can take."""

BY_ROW, BY_COLUMN, BY_BOTH = 0, CLASSES * 9, CLASSES * 9 + CLASSES * 9
CONTEXTS = BY_BOTH + COARSE * COARSE * 3
"""Contexts of the first three views; the fourth has one for each pair of neighbouring symbols' distances."""

LAST = 16
ALL = CONTEXTS + LAST * LAST


def _classes() -> NDArray[np.uint8]:
    """Two classes an octave, of running means below 2**10, and of the upper half of larger ones."""
    table = np.zeros(2 * HALF_TABLE + 1, np.uint8)
    for place in range(1, 2 * HALF_TABLE + 1):
        mean = place if place < HALF_TABLE else (place - HALF_TABLE) << 10
        octave = max(mean, 1).bit_length() - 1
        half = (mean >> (octave - 1)) & 1 if octave else 0
        table[place] = min(max(2 * (octave - 4) + half, 0), CLASSES - 1)
    return table


CLASS = _classes()


def fresh_symbol_models(bits: int) -> Models:
    """Models that know nothing; the last one is of empty rows."""
    return np.full((ALL << bits) + 1, 1 << 21 << COUNT_BITS, np.uint32)


def fresh_symbol_weights(bits: int) -> Weights:
    """A little over an average, for the views know different things."""
    return np.full(INPUTS << bits, 20000, np.int32)


@kernel
def class_of(mean: int) -> int:
    """The class of a running mean."""
    if mean < HALF_TABLE:
        return wide(CLASS[at(mean)])
    return wide(CLASS[at(HALF_TABLE + (mean >> 10))])


@kernel
def pace_of(seen: int, most: int) -> int:
    """The pace of a running mean of which so many values have been seen."""
    pace = 1
    while pace < most and (1 << pace) <= seen:
        pace += 1
    return pace


@kernel
def views(row: int, column: int, last: int, before: int) -> tuple[int, int, int, int]:
    """The context in each of the four views."""
    r, c = class_of(row), class_of(column)
    near = min(last, 2) * 3 + min(before, 2)
    return (
        BY_ROW + r * 9 + near,
        BY_COLUMN + c * 9 + near,
        BY_BOTH + ((r >> 1) * COARSE + (c >> 1)) * 3 + min(last, 2),
        CONTEXTS + min(last, LAST - 1) * LAST + min(before, LAST - 1),
    )


@kernel
def encode_symbols(
    symbols: Symbols, bits: int, models: Models, weights: Weights, state: State, words: Words, columns: State
) -> int:
    """Encode rows of symbols; give 0, or -1 where `words` is full. `columns` are running means, from 0 on."""
    height, width_ = symbols.shape
    low, width = state[LOW], state[RANGE]
    middle = ((1 << bits) - 1) >> 1
    unit = 20 - (bits - 1)
    flag = models.size - 1
    for i in range(height):
        some = 0
        for j in range(width_):
            if symbols[at(i), at(j)] != middle:
                some = 1
                break
        if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
            return -1
        low, width = encode_plain(low, width, models, flag, some, state, words)
        slow = pace_of(i, COLUMN_PACE)
        row = 0
        pace = 1
        last = 0
        before = 0
        for j in range(width_):
            column = columns[at(j)]
            if some == 0:
                columns[at(j)] = column - (column >> slow)
                continue
            if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
                return -1
            symbol = wide(symbols[at(i), at(j)])
            a, b, c, d = views(row, column, last, before)
            node = 1
            for k in range(bits):
                bit = (symbol >> (bits - 1 - k)) & 1
                ma, mb, mc, md = (
                    (a << bits) + node,
                    (b << bits) + node,
                    (c << bits) + node,
                    (d << bits) + node,
                )
                sa, sb, sc, sd = (
                    stretch(models, ma),
                    stretch(models, mb),
                    stretch(models, mc),
                    stretch(models, md),
                )
                chance = mix(weights, INPUTS * node, sa, sb, sc, sd)
                low, width = encode_bit(low, width, chance, bit, state, words)
                learn(weights, INPUTS * node, (bit << 16) - chance, sa, sb, sc, sd)
                adapt_all(models, ma, mb, mc, md, bit)
                node = 2 * node + bit
            far = abs(symbol - middle)
            seen = far << unit
            row += (seen - row) >> pace
            if pace < ROW_PACE and j >> pace:
                pace += 1
            columns[at(j)] = column + ((seen - column) >> slow)
            before = last
            last = far
    state[LOW], state[RANGE] = low, width
    return 0


@kernel
def decode_symbols(
    symbols: Symbols, bits: int, models: Models, weights: Weights, state: State, words: Words, columns: State
) -> None:
    """Invert `encode_symbols`: set the symbols."""
    height, width_ = symbols.shape
    code, width = state[CODE], state[RANGE]
    middle = ((1 << bits) - 1) >> 1
    unit = 20 - (bits - 1)
    flag = models.size - 1
    for i in range(height):
        code, width, some = decode_plain(code, width, models, flag, state, words)
        slow = pace_of(i, COLUMN_PACE)
        row = 0
        pace = 1
        last = 0
        before = 0
        for j in range(width_):
            column = columns[at(j)]
            if some == 0:
                symbols[at(i), at(j)] = middle
                columns[at(j)] = column - (column >> slow)
                continue
            a, b, c, d = views(row, column, last, before)
            node = 1
            for _ in range(bits):
                ma, mb, mc, md = (
                    (a << bits) + node,
                    (b << bits) + node,
                    (c << bits) + node,
                    (d << bits) + node,
                )
                sa, sb, sc, sd = (
                    stretch(models, ma),
                    stretch(models, mb),
                    stretch(models, mc),
                    stretch(models, md),
                )
                chance = mix(weights, INPUTS * node, sa, sb, sc, sd)
                code, width, bit = decode_bit(code, width, chance, state, words)
                learn(weights, INPUTS * node, (bit << 16) - chance, sa, sb, sc, sd)
                adapt_all(models, ma, mb, mc, md, bit)
                node = 2 * node + bit
            symbol = node - (1 << bits)
            symbols[at(i), at(j)] = symbol
            far = abs(symbol - middle)
            seen = far << unit
            row += (seen - row) >> pace
            if pace < ROW_PACE and j >> pace:
                pace += 1
            columns[at(j)] = column + ((seen - column) >> slow)
            before = last
            last = far
    state[CODE], state[RANGE] = code, width
