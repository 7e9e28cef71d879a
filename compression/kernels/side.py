"""Small numbers beside the values: modes, ranks, levels, reconstruction points."""

from __future__ import annotations

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
from phloem.compression.kernels.jit import kernel


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
