"""What is known of the values of a row before it is coded, and how that is sent.

A value is expected to be as large as its column has been, times a scale that is sent with the row. Both
sides keep each column's `activity`: a running mean of its magnitudes, in float32, by IEEE operations in the
order written. Its bits, shifted, are its logarithm in half octaves.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    Models,
    State,
    Words,
    decode_plain,
    encode_plain,
)
from phloem.compression.kernels.frequencies import TOP
from phloem.compression.kernels.jit import at, encoder_kernel, kernel, wide

Values = NDArray[np.float32]
Levels = NDArray[np.uint8]
Bits = NDArray[np.int32]

LARGEST = 1 << 24
"""Largest magnitude in half steps: the last at which every integer is a float32."""

ZERO_LEVEL = 2 * (127 - 10) - 1
"""What to take from the upper bits of a float32 to have its level: that of 1/1024 is 1."""

MOST_LEVEL = 2 * (24 + 10)
"""Above `TOP` the levels of a table repeat, with as many low bits that are noise."""

MOST_SHIFT = 60
FLAG, DEPENDENT, DELTA = 0, 4, 8
"""Places among the unmixed models: whether a row has values, how they are quantized, its scale."""

MOST_DELTA = 20
DELTA_BITS = 2.0
"""What it costs, about, to send another scale, beside a bit for each half octave."""


SHARES = np.array(
    [63 / 64, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 5 / 32, 1 / 8, 1 / 8] + [1 / 16] * 8 + [1 / 32] * 16 + [1 / 64],
    np.float32,
)
"""By row, by which share of the difference a column's mean moves: what is zero once mostly stays so."""

SCALES = np.array(
    [
        math.ldexp(math.sqrt(0.5) if shift & 1 else 1.0, -(shift >> 1))
        for shift in range(-MOST_SHIFT, MOST_SHIFT + 1)
    ],
    np.float32,
)
"""The inverse of a row's scale, which counts half octaves."""


@kernel
def share_of(row: int) -> np.float32:
    """The share of a row, the last one for all later rows."""
    return np.float32(SHARES[at(min(row, SHARES.size - 1))])


@kernel
def set_levels(bits: Bits, shift: int, levels: Levels) -> None:
    """Set the level to expect in each column."""
    for j in range(bits.size):
        levels[at(j)] = min(max((bits[at(j)] >> 22) - ZERO_LEVEL + shift, 0), MOST_LEVEL)


@kernel
def noise_of(level: int) -> int:
    """How many low bits of a magnitude are noise at this level."""
    return (level - TOP + 1) >> 1 if level > TOP else 0


@kernel
def see(activity: Values, halves: Bits, scale: np.float32, share: np.float32) -> None:
    """Move the columns' means towards a row's magnitudes, that are in half steps."""
    factor = np.float32(np.float32(0.5) * np.float32(scale))
    for j in range(activity.size):
        seen = np.float32(np.float32(abs(halves[at(j)])) * factor)
        activity[at(j)] += np.float32(np.float32(seen - activity[at(j)]) * share)


@kernel
def fade(activity: Values, share: np.float32) -> None:
    """Move the columns' means towards a row of zeros."""
    for j in range(activity.size):
        activity[at(j)] -= np.float32(activity[at(j)] * share)


@encoder_kernel
def rounded_sum(row: Values, inverse: float) -> float:
    """The sum of magnitudes, rounded in favour of zero."""
    total = np.float32(0)
    factor = np.float32(inverse)
    for j in range(row.size):
        total += np.floor(abs(row[at(j)]) * factor + np.float32(0.4))
    return float(total)


@encoder_kernel
def mean_of(activity: Values) -> float:
    """The mean of the columns' means."""
    total = np.float32(0)
    for j in range(activity.size):
        total += activity[at(j)]
    return float(total / activity.size)


@encoder_kernel
def shift_of(total: float, activity: Values, before: int) -> int:
    """The row's scale that fits the sum of its magnitudes, in half octaves, if it is worth being sent."""
    profile = max(mean_of(activity) * activity.size, 1e-30)
    fit = round(2 * np.log2(total / profile))
    fit = min(max(fit, -MOST_SHIFT), MOST_SHIFT)
    fit = min(max(fit, before - MOST_DELTA), before + MOST_DELTA)
    expected = profile * 2.0 ** (0.5 * before)
    # What the right scale saves where magnitudes are counts of rare events, and less where they are not rare.
    saved = (total * np.log2(total / expected) - 1.44 * (total - expected)) / (1 + total / activity.size)
    return fit if saved > DELTA_BITS + abs(fit - before) else before


@kernel
def encode_delta(
    low: int, width: int, models: Models, place: int, delta: int, state: State, words: Words
) -> tuple[int, int]:
    """Encode how a row's scale differs from the one before."""
    size = abs(delta)
    low, width = encode_plain(low, width, models, place, 1 if size else 0, state, words)
    if size:
        low, width = encode_plain(low, width, models, place + 1, 1 if delta < 0 else 0, state, words)
        for k in range(1, size):
            low, width = encode_plain(low, width, models, place + 1 + k, 1, state, words)
        if size < MOST_DELTA:
            low, width = encode_plain(low, width, models, place + 1 + size, 0, state, words)
    return low, width


@kernel
def decode_delta(
    code: int, width: int, models: Models, place: int, state: State, words: Words
) -> tuple[int, int, int]:
    """Invert `encode_delta`."""
    code, width, bit = decode_plain(code, width, models, place, state, words)
    if bit == 0:
        return code, width, 0
    code, width, negative = decode_plain(code, width, models, place + 1, state, words)
    size = 1
    while size < MOST_DELTA:
        code, width, bit = decode_plain(code, width, models, place + 1 + size, state, words)
        if bit == 0:
            break
        size += 1
    return code, width, -size if negative else size


assert wide(SCALES.size) == 2 * MOST_SHIFT + 1
