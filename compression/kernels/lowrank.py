"""Loops over matrices and their factors.

Factors lie in rows: `left` is (rank, m), `right` is (rank, n), and a matrix is the sum over i of
left[i][:, None] * right[i]. Decoders use `add_products` and `normalize_rows` only; the rest is the encoder's,
and is written out here because a BLAS gives other bits on another number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, encoder_kernel, kernel

Matrix = NDArray[np.float32]
Square = NDArray[np.float64]


SHORTEST = 1e-60
"""The least square of a length whose inverse float32 has room for."""

TILE = 512
"""So many columns are done together, that the factors' part of them stays near the processor."""


@kernel
def add_products(left: Matrix, right: Matrix, out: Matrix) -> None:
    """Add the matrix of the factors to `out`, in the order of the factors."""
    rank, m = left.shape
    n = right.shape[1]
    whole = rank & -4
    for first in range(0, n, TILE):
        last = min(first + TILE, n)
        for j in range(m):
            for i in range(0, whole, 4):
                a, b = left[at(i), at(j)], left[at(i + 1), at(j)]
                c, d = left[at(i + 2), at(j)], left[at(i + 3), at(j)]
                if a != 0 or b != 0 or c != 0 or d != 0:
                    for k in range(first, last):
                        total = out[at(j), at(k)] + a * right[at(i), at(k)]
                        total += b * right[at(i + 1), at(k)]
                        total += c * right[at(i + 2), at(k)]
                        out[at(j), at(k)] = total + d * right[at(i + 3), at(k)]
            for i in range(whole, rank):
                a = left[at(i), at(j)]
                if a != 0:
                    for k in range(first, last):
                        out[at(j), at(k)] += a * right[at(i), at(k)]


@kernel
def normalize_rows(rows: Matrix) -> None:
    """Scale each row to length one; rows of zeros stay."""
    rank, n = rows.shape
    for i in range(rank):
        square = 0.0
        for k in range(n):
            square += np.float64(rows[at(i), at(k)]) * np.float64(rows[at(i), at(k)])
        if square > 0.0:
            scale = 1.0 / np.sqrt(square)
            for k in range(n):
                rows[at(i), at(k)] = np.float32(rows[at(i), at(k)] * scale)


@encoder_kernel
def project(matrix: Matrix, right: Matrix, left: Matrix) -> None:
    """Set `left` to right @ matrix.T."""
    m, n = matrix.shape
    rank = right.shape[0]
    whole = m & -4
    for j in range(0, whole, 4):
        for i in range(rank):
            a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for k in range(n):
                value = right[at(i), at(k)]
                a += matrix[at(j), at(k)] * value
                b += matrix[at(j + 1), at(k)] * value
                c += matrix[at(j + 2), at(k)] * value
                d += matrix[at(j + 3), at(k)] * value
            left[at(i), at(j)] = a
            left[at(i), at(j + 1)] = b
            left[at(i), at(j + 2)] = c
            left[at(i), at(j + 3)] = d
    for j in range(whole, m):
        for i in range(rank):
            a = np.float32(0)
            for k in range(n):
                a += matrix[at(j), at(k)] * right[at(i), at(k)]
            left[at(i), at(j)] = a


@encoder_kernel
def gather(matrix: Matrix, left: Matrix, right: Matrix) -> None:
    """Set `right` to left @ matrix."""
    m, n = matrix.shape
    rank = left.shape[0]
    right[:] = 0
    whole = m & -4
    for first in range(0, n, TILE):
        last = min(first + TILE, n)
        for j in range(0, whole, 4):
            for i in range(rank):
                a, b = left[at(i), at(j)], left[at(i), at(j + 1)]
                c, d = left[at(i), at(j + 2)], left[at(i), at(j + 3)]
                for k in range(first, last):
                    right[at(i), at(k)] += (
                        a * matrix[at(j), at(k)]
                        + b * matrix[at(j + 1), at(k)]
                        + c * matrix[at(j + 2), at(k)]
                        + d * matrix[at(j + 3), at(k)]
                    )
        for j in range(whole, m):
            for i in range(rank):
                a = left[at(i), at(j)]
                for k in range(first, last):
                    right[at(i), at(k)] += a * matrix[at(j), at(k)]


@encoder_kernel
def orthonormalize(rows: Matrix) -> None:
    """Gram and Schmidt, twice; rows that depend on earlier ones, or are too short, become zero."""
    rank, n = rows.shape
    for i in range(rank):
        before = 0.0
        for k in range(n):
            before += np.float64(rows[at(i), at(k)]) * np.float64(rows[at(i), at(k)])
        for _ in range(2):
            for h in range(i):
                dot = np.float32(0)
                for k in range(n):
                    dot += rows[at(i), at(k)] * rows[at(h), at(k)]
                for k in range(n):
                    rows[at(i), at(k)] -= dot * rows[at(h), at(k)]
        square = 0.0
        for k in range(n):
            square += np.float64(rows[at(i), at(k)]) * np.float64(rows[at(i), at(k)])
        scale = np.float32(0)
        if square > max(1e-10 * before, SHORTEST):
            scale = np.float32(1.0 / np.sqrt(square))
        for k in range(n):
            rows[at(i), at(k)] *= scale


@encoder_kernel
def gram(rows: Matrix, out: Square) -> None:
    """Set `out` to rows @ rows.T, summed in float64."""
    rank, n = rows.shape
    for i in range(rank):
        for h in range(i + 1):
            total = 0.0
            for k in range(n):
                total += np.float64(rows[at(i), at(k)]) * np.float64(rows[at(h), at(k)])
            out[at(i), at(h)] = total
            out[at(h), at(i)] = total


@encoder_kernel
def diagonalize(square: Square, vectors: Square) -> None:
    """Jacobi's method: `square` becomes diagonal, the rows of `vectors` its eigenvectors."""
    rank = square.shape[0]
    vectors[:] = 0.0
    for i in range(rank):
        vectors[at(i), at(i)] = 1.0
    for _ in range(30):
        off = 0.0
        total = 0.0
        for i in range(rank):
            total += square[at(i), at(i)] ** 2
            for h in range(i):
                off += square[at(i), at(h)] ** 2
        if off <= 1e-18 * total:
            break
        for p in range(rank - 1):
            for r in range(p + 1, rank):
                apq = square[at(p), at(r)]
                if apq * apq <= 1e-24 * abs(square[at(p), at(p)] * square[at(r), at(r)]):
                    continue
                theta = (square[at(r), at(r)] - square[at(p), at(p)]) / (2.0 * apq)
                t = 1.0 / (abs(theta) + np.sqrt(theta * theta + 1.0))
                if theta < 0:
                    t = -t
                c = 1.0 / np.sqrt(t * t + 1.0)
                s = t * c
                for k in range(rank):
                    a, b = square[at(p), at(k)], square[at(r), at(k)]
                    square[at(p), at(k)], square[at(r), at(k)] = c * a - s * b, s * a + c * b
                for k in range(rank):
                    a, b = square[at(k), at(p)], square[at(k), at(r)]
                    square[at(k), at(p)], square[at(k), at(r)] = c * a - s * b, s * a + c * b
                for k in range(rank):
                    a, b = vectors[at(p), at(k)], vectors[at(r), at(k)]
                    vectors[at(p), at(k)], vectors[at(r), at(k)] = c * a - s * b, s * a + c * b


@encoder_kernel
def solve(square: Square, right: Matrix) -> None:
    """Solve square @ x = right in place, `square` symmetric and positive; it is destroyed."""
    rank, m = right.shape
    for i in range(rank):
        for h in range(i + 1, rank):
            factor = square[at(h), at(i)] / square[at(i), at(i)]
            for k in range(i, rank):
                square[at(h), at(k)] -= factor * square[at(i), at(k)]
            for k in range(m):
                right[at(h), at(k)] -= np.float32(factor) * right[at(i), at(k)]
    for back in range(rank):
        i = rank - 1 - back
        for h in range(i + 1, rank):
            factor = square[at(i), at(h)]
            for k in range(m):
                right[at(i), at(k)] -= np.float32(factor) * right[at(h), at(k)]
        for k in range(m):
            right[at(i), at(k)] /= np.float32(square[at(i), at(i)])
