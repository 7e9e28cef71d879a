"""From integers back to values, and what that costs in squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, encoder_kernel, kernel


@kernel
def restore(
    halves: NDArray[np.int32], steps: NDArray[np.float32], near: float, far: float, out: NDArray[np.float32]
) -> None:
    """Values of integers, in half steps of their row: |q| + `near` for one and two, |q| + `far` beyond."""
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
def residues(
    x: NDArray[np.float32], steps: NDArray[np.float32], halves: NDArray[np.int32], out: NDArray[np.float64]
) -> None:
    """Sums over the plane, in squares of the first row's step.

    Gives in `out` the squared error with points at the integers; then for magnitudes of one and two, and for
    larger ones, the weight that a shift of the point has and the pull towards one.
    """
    rows, columns = x.shape
    error = 0.0
    near = 0.0
    far = 0.0
    pull_near = 0.0
    pull_far = 0.0
    for i in range(rows):
        half = 0.5 * steps[at(i)]
        weight = (half / steps[0]) ** 2
        for j in range(columns):
            size = abs(halves[at(i), at(j)])
            over = abs(x[at(i), at(j)]) / half - size
            error += weight * over * over
            far += weight if size > 2 else 0.0
            near += weight if size == 1 or size == 2 else 0.0
            pull_far += weight * over if size > 2 else 0.0
            pull_near += weight * over if size == 1 or size == 2 else 0.0
    out[0] = error
    out[1] = near
    out[2] = pull_near
    out[3] = far
    out[4] = pull_far


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
