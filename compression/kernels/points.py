"""From integers back to values, and what that costs in squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, encoder_kernel, kernel


@kernel
def restore(q: NDArray[np.int32], step: float, one: float, more: float, out: NDArray[np.float32]) -> None:
    """Values of integers: |q| + `one` or, from two on, |q| + `more` steps with the sign of q."""
    rows, columns = q.shape
    first = np.float32(np.float32(1.0 + one) * np.float32(step))
    for i in range(rows):
        for j in range(columns):
            number = q[at(i), at(j)]
            size = abs(number)
            value = np.float32(0)
            if size == 1:
                value = first
            elif size > 1:
                value = np.float32(np.float32(size + more) * np.float32(step))
            out[at(i), at(j)] = -value if number < 0 else value


@encoder_kernel
def residues(x: NDArray[np.float32], inverse: float, q: NDArray[np.int32], out: NDArray[np.float64]) -> None:
    """Sums over the plane, in steps.

    Gives in `out` the squared error with points at the integers, then for magnitudes of one and for
    larger ones how many there are and the sum of |x| - |q|.
    """
    rows, columns = x.shape
    error = 0.0
    ones = 0
    mores = 0
    above_one = 0.0
    above_more = 0.0
    for i in range(rows):
        for j in range(columns):
            size = abs(q[at(i), at(j)])
            over = abs(x[at(i), at(j)]) * inverse - size
            error += over * over
            ones += size == 1
            mores += size > 1
            above_one += over if size == 1 else 0.0
            above_more += over if size > 1 else 0.0
    out[0] = error
    out[1] = ones
    out[2] = above_one
    out[3] = mores
    out[4] = above_more
