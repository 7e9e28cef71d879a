"""Values and the levels of a codebook: which is nearest, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, kernel, wide

Values = NDArray[np.float32]
Codes = NDArray[np.uint8]


@kernel
def nearest(values: Values, start: int, end: int, borders: Values, bits: int, codes: Codes) -> None:
    """The number of borders below each value, of 2**bits - 1 that increase."""
    for k in range(start, end):
        value = values[at(k)]
        code = 0
        step = 1 << (bits - 1)
        while step:
            if value > borders[at(code + step - 1)]:
                code += step
            step >>= 1
        codes[at(k)] = code


@kernel
def squares(values: Values, start: int, end: int) -> float:
    """The sum of squares."""
    total = 0.0
    for k in range(start, end):
        total += np.float64(values[at(k)]) * np.float64(values[at(k)])
    return total


@kernel
def matches(values: Values, codes: Codes, levels: Values, start: int, end: int) -> tuple[float, float]:
    """The product of values and levels, and the levels' sum of squares."""
    product, square = 0.0, 0.0
    for k in range(start, end):
        level = np.float64(levels[at(wide(codes[at(k)]))])
        product += np.float64(values[at(k)]) * level
        square += level * level
    return product, square


@kernel
def look_up(codes: Codes, levels: Values, start: int, end: int, scale: float, values: Values) -> None:
    """Set values to scaled levels."""
    for k in range(start, end):
        values[at(k)] = levels[at(wide(codes[at(k)]))] * scale
