"""Small numbers beside the values: modes, ranks, levels, reconstruction points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    CODE,
    HALF,
    LOW,
    RANGE,
    Models,
    State,
    Words,
    decode_bit,
    decode_plain,
    encode_bit,
    encode_plain,
)
from phloem.compression.kernels.jit import at, kernel

Values = NDArray[np.float32]


@kernel
def encode_number(place: int, bits: int, value: int, models: Models, state: State, words: Words) -> None:
    """Encode `bits` bits from the top, each predicted from those above; raw where `place` is negative."""
    low, width = state[LOW], state[RANGE]
    node = 1
    for i in range(bits):
        bit = (value >> (bits - 1 - i)) & 1
        if place < 0:
            low, width = encode_bit(low, width, HALF, bit, state, words)
        else:
            low, width = encode_plain(low, width, models, place + node, bit, state, words)
        node = 2 * node + bit
    state[LOW], state[RANGE] = low, width


@kernel
def decode_number(place: int, bits: int, models: Models, state: State, words: Words) -> int:
    """Invert `encode_number`."""
    code, width = state[CODE], state[RANGE]
    node = 1
    for _ in range(bits):
        if place < 0:
            code, width, bit = decode_bit(code, width, HALF, state, words)
        else:
            code, width, bit = decode_plain(code, width, models, place + node, state, words)
        node = 2 * node + bit
    state[CODE], state[RANGE] = code, width
    return node - (1 << bits)


@kernel
def encode_signs(values: Values, state: State, words: Words) -> None:
    """Encode one bit for each value: whether it is negative."""
    low, width = state[LOW], state[RANGE]
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            low, width = encode_bit(low, width, HALF, 1 if values[at(i), at(j)] < 0 else 0, state, words)
    state[LOW], state[RANGE] = low, width


@kernel
def decode_signs(values: Values, size: float, state: State, words: Words) -> None:
    """Invert `encode_signs`: set values to `size`, or to that negated."""
    code, width = state[CODE], state[RANGE]
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            code, width, negative = decode_bit(code, width, HALF, state, words)
            values[at(i), at(j)] = -size if negative else size
    state[CODE], state[RANGE] = code, width
