"""Low-rank approximation by one power iteration, warm-started from the last update's factor.

T. Vogels, S. P. Karimireddy and M. Jaggi, "PowerSGD: practical low-rank gradient compression for distributed
optimization", NeurIPS 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed
from phloem.errors import CodecError, ConfigError

LARGEST = 1e38
"""Half of float32's range is kept free: the receiver adds up what later stages have rounded."""

NOISE = 1e-6
"""What is left of a row, relative to the row, when a sum of float32 numbers should have been zero."""

CHUNK = 1 << 16
"""Values rebuilt at a time, so that the scratch memory stays in the cache."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """A tensor `(m, ...)` as a matrix `(m, n)` becomes factors `(rank, m)` and `(rank, n)`.

    The first factor's rows are orthonormal, so the error is never longer than the tensor. Tensors that the
    factors would not make smaller pass: vectors, small matrices. Biased: put `ef` in front.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | lowrank:4 | linear:8"))
    'ef | lowrank:4 | linear:8'
    """

    name: ClassVar[str] = "lowrank"
    rank: int

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise CodecError(f"`rank` of `lowrank` should be 1 or more. Found {self.rank}. Try `lowrank:4`.")

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become two factors, one row a rank: what is quantised together has one magnitude."""
        if not isinstance(spec, Values) or len(spec.shape) < 2:
            return None
        m, n = _matrix_shape(spec.shape)
        if self.rank * (m + n) >= m * n:
            return None
        return Values((self.rank, m)), Values((self.rank, n))

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Project on the column space that the warm factor finds.

        Without BLAS: its sums depend on the number of threads. In this layout einsum's own loops are as fast.
        """
        m, n = _matrix_shape(array.shape)
        matrix = array.reshape(m, n)
        right = _start(warm, (self.rank, n), seed)
        with np.errstate(over="ignore", invalid="ignore"):
            left = _orthonormal(np.einsum("ij,kj->ki", matrix, right))
            right = np.einsum("ij,ki->kj", matrix, left)
            largest = np.abs(right).sum(axis=0).max()
        if not largest < LARGEST:
            raise ConfigError(
                f"`lowrank` carries magnitudes whose sums stay below {LARGEST:.0e}. "
                f"Found {np.abs(array).max():g}. Look for what diverged."
            )
        return [left, right], right

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Sum the outer products, in order, multiplication and addition apart."""
        assert isinstance(spec, Values)
        left, right = arrays
        m, n = _matrix_shape(spec.shape)
        matrix = np.zeros((m, n), np.float32)
        rows = max(1, CHUNK // n)
        scratch = np.empty((rows, n), np.float32)
        for start in range(0, m, rows):
            part = matrix[start : start + rows]
            product = scratch[: len(part)]
            for column, row in zip(left[:, start : start + rows], right, strict=True):
                np.multiply(column[:, None], row, out=product)
                part += product
        return matrix.reshape(spec.shape)


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _start(warm: Array | None, shape: tuple[int, int], seed: Seed) -> Array:
    """The last update's factor; random rows where there is none, or zeros that no iteration would leave."""
    if warm is None or warm.shape != shape:
        warm = np.zeros(shape, np.float32)
    empty = np.abs(warm).max(axis=1, keepdims=True) == 0
    if not empty.any():
        return warm
    return np.where(empty, np.random.default_rng(seed).standard_normal(shape, np.float32), warm)


def _orthonormal(rows: Array) -> Array:
    """Gram-Schmidt; a row that, but for rounding, depends on the earlier ones becomes zero."""
    basis = rows.astype(np.float64)
    for i, row in enumerate(basis):
        before = _length(row)
        for earlier in basis[:i]:
            row -= (row * earlier).sum() * earlier
        after = _length(row)
        row *= 1 / after if after > NOISE * before else 0
    return basis.astype(np.float32)


def _length(row: Array) -> float:
    return math.sqrt(float((row * row).sum()))
