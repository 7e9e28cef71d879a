"""What is known of a value before it is coded.

The expected magnitude of a value is read off two running means that both sides keep: that of its row so far,
and that of its column over the rows before (`activity`). Both, and the mean of the plane, are in 1/256 steps.
"""

from __future__ import annotations

from phloem.compression.kernels.jit import at, kernel, wide
from phloem.compression.kernels.tables import (
    BINS,
    BY_BOTH,
    BY_COLUMN,
    BY_PRODUCT,
    BY_ROW,
    COARSE,
    FULL_ACTIVITY,
    LEVEL,
    LEVELS,
)

LARGEST = 1 << 24
"""Largest magnitude in half steps: the last at which every integer is a float32."""

ROW_PACE, COLUMN_PACE, PLANE_PACE = 6, 6, 10
"""Running means move by one part in 2**pace, once so many values have been seen."""

FIRST_ROW_PACE, FIRST_COLUMN_PACE = 3, 1
"""The first paces: what a column showed in the first row is all that is known of it in the second."""

NOISE_LEVEL = 2048
MOST_SEEN = 65535


@kernel
def level(activity: int) -> int:
    """The level of an activity."""
    return wide(LEVEL[at(min(activity, FULL_ACTIVITY))])


@kernel
def product_level(row: int, column: int, plane: int) -> int:
    """The level to expect where magnitudes are products of a row's and a column's."""
    return min(max(level(row) + level(column) - level(plane), 0), LEVELS - 1)


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
def row_pace(column: int) -> int:
    """The pace of the row's mean at a column."""
    return min(FIRST_ROW_PACE + octaves(column >> 2), ROW_PACE)


@kernel
def column_pace(row: int) -> int:
    """The pace of the columns' means in a row."""
    return min(FIRST_COLUMN_PACE + octaves(row), COLUMN_PACE)


@kernel
def seen(halves: int) -> int:
    """A magnitude in half steps as running means see it."""
    return min(halves, MOST_SEEN) << 7


@kernel
def noise_bits(row: int, column: int) -> int:
    """How many low bits of a magnitude are noise at this activity."""
    bits = 0
    mean = (row + column) >> 1
    while (mean >> bits) > NOISE_LEVEL:
        bits += 1
    return bits


@kernel
def contexts(
    row: int, column: int, plane: int, before: int, last: int, quantizer: int
) -> tuple[int, int, int, int]:
    """Where the four families of models keep those for this place."""
    r, c = level(row), level(column)
    near = min(before + last, 2)
    a = (r >> 1) * COARSE + (c >> 1)
    b = r * 9 + last * 3 + before
    d = product_level(row, column, plane) * 3 + near
    return (
        BY_BOTH + (2 * a + quantizer) * BINS,
        BY_ROW + (2 * b + quantizer) * BINS,
        BY_COLUMN + (c * 3 + near) * BINS,
        BY_PRODUCT + (2 * d + quantizer) * BINS,
    )
