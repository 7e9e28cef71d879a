"""From integers back to values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, encoder_kernel, kernel


@kernel
def restore(
    halves: NDArray[np.int32], steps: NDArray[np.float32], near: float, far: float, out: NDArray[np.float32]
) -> None:
    """Values of integers, in half steps of their row: |q| + `near` for one and two, |q| + `far` beyond.

    `out` may lie in the memory of `halves`.
    """
    rows, columns = halves.shape
    for i in range(rows):
        half = np.float32(steps[at(i)] * np.float32(0.5))
        for j in range(columns):
            number = halves[at(i), at(j)]
            size = abs(number)
            value = np.float32(0)
            if size > 2:
                value = np.float32(np.float32(size + far) * half)
            elif size > 0:
                value = np.float32(np.float32(size + near) * half)
            out[at(i), at(j)] = -value if number < 0 else value


@encoder_kernel
def energy(x: NDArray[np.float32]) -> float:
    """The sum of squares of a matrix."""
    rows, columns = x.shape
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            total += np.float64(x[at(i), at(j)]) * np.float64(x[at(i), at(j)])
    return total


@encoder_kernel
def largest_size(x: NDArray[np.float32]) -> float:
    """The largest magnitude of a matrix."""
    rows, columns = x.shape
    largest = np.float32(0)
    for i in range(rows):
        for j in range(columns):
            largest = max(largest, abs(x[at(i), at(j)]))
    return float(largest)


@encoder_kernel
def mean_size(x: NDArray[np.float32]) -> float:
    """The mean magnitude of a matrix."""
    rows, columns = x.shape
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            total += np.float64(abs(x[at(i), at(j)]))
    return float(total / (rows * columns))


@kernel
def what_sizes(halves: NDArray[np.int32]) -> int:
    """1 if there are magnitudes of one or two, plus 2 if there are larger ones."""
    rows, columns = halves.shape
    found = 0
    for i in range(rows):
        for j in range(columns):
            size = abs(halves[at(i), at(j)])
            found |= (size > 0 and size <= 2) | ((size > 2) << 1)
    return found


@encoder_kernel
def least_cost(x: NDArray[np.float32], inverse: float, threshold: float, cost: float) -> float:
    """The cost of a plane where values over `threshold` steps cost so much each, the others their square."""
    rows, columns = x.shape
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            size = abs(x[at(i), at(j)]) * inverse
            total += cost if size > threshold else size * size
    return total


@encoder_kernel
def count_sizes(bits: NDArray[np.int32], every: int, counts: NDArray[np.int64]) -> None:
    """Count the magnitudes of every so many rows by half octaves: the upper nine bits of a float32."""
    rows, columns = bits.shape
    for i in range(0, rows, every):
        for j in range(columns):
            counts[at((bits[at(i), at(j)] >> 22) & 511)] += 1
