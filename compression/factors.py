"""Low rank as a transform: a matrix as a sum of quantized outer products.

An update of a few optimizer steps is close to a sum of few outer products. With W = sum of s u v^T, an error
in a coefficient of s v or of s u is an error of the same size in W, so all of them, and all plain values
beside them, share one quantization step: that is reverse water-filling over components. The right factors are
coded first; the left ones are then fitted to the right ones *as decoded*, by least squares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Values
from phloem.compression.kernels.lowrank import (
    diagonalize,
    gather,
    gram,
    orthonormalize,
    project,
    solve,
)
from phloem.compression.kernels.points import energy, mean_size
from phloem.compression.rotation import rotated

MOST_RANK = 128
FIRST_RANK = 16
SPARE = 4
"""Directions iterated beyond those wanted, so that the last wanted one converges."""

COLD_ITERATIONS = 2
RIDGE = 1e-6
EVEN = 0.98
"""The squared mean over the mean square from which sizes count as one."""

SAMPLE, FEWEST_ROWS = 1 << 16, 16
"""So many values are enough for a survey, if they are of so many rows."""


def most_rank(m: int, n: int) -> int:
    """The largest rank at which the factors of a matrix have fewer values than itself, within `MOST_RANK`."""
    return min(m, n, MOST_RANK, max(m * n // (m + n), 1))


def sampling(matrix: Values) -> int:
    """Which rows stand for all in a survey: every so many."""
    return max(min(matrix.size // SAMPLE, len(matrix) // FEWEST_ROWS), 1)


@dataclass
class Components:
    """A matrix, scaled down by 2**shift, and its leading singular directions, found as far as asked for."""

    matrix: Values
    shift: int = 0
    seed: tuple[int, ...] = ()
    warm: Values | None = None
    right: Values = field(default_factory=lambda: np.empty((0, 0), np.float32))
    left: Values = field(default_factory=lambda: np.empty((0, 0), np.float32))
    strength: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @cached_property
    def energy(self) -> float:
        """The sum of squares of the matrix."""
        return energy(self.matrix)

    @cached_property
    def mean(self) -> float:
        """The mean magnitude."""
        return mean_size(self.matrix)

    @cached_property
    def even(self) -> bool:
        """Whether all values that are not zero are of about one size, and need one point."""
        count = int(np.count_nonzero(self.matrix))
        return (self.mean * self.matrix.size) ** 2 >= EVEN * count * self.energy

    @cached_property
    def rotated(self) -> Values:
        """The values, rotated."""
        return rotated(self.matrix)

    @property
    def most(self) -> int:
        """The largest rank."""
        return most_rank(*self.matrix.shape)

    def grow(self, rank: int) -> None:
        """Find at least `rank` directions, beginning from those known or from `warm`."""
        m, n = self.matrix.shape
        rank = min(rank, self.most)
        if self.right.shape[0] >= rank:
            return
        wanted = min(rank + SPARE, m, n)
        known = self.right if self.right.size else self.warm
        start = np.random.default_rng((*self.seed, rank)).standard_normal((wanted, n), dtype=np.float32)
        if known is not None and known.shape[1:] == (n,):
            start[: known.shape[0]] = known[:wanted]
        left = np.empty((wanted, m), np.float32)
        for _ in range(COLD_ITERATIONS if known is None else 1):
            orthonormalize(start)
            project(self.matrix, start, left)
            orthonormalize(left)
            gather(self.matrix, left, start)
        orthonormalize(start)
        project(self.matrix, start, left)
        square, turn = np.empty((wanted, wanted)), np.empty((wanted, wanted))
        gram(left, square)
        diagonalize(square, turn)
        order = np.argsort(-np.diag(square), kind="stable")[:rank]
        right = np.empty((rank, n), np.float32)
        gather(start, turn[order].astype(np.float32), right)
        self.left = np.empty((rank, m), np.float32)
        gather(left, turn[order].astype(np.float32), self.left)
        self.right = right
        self.strength = np.sqrt(np.maximum(np.diag(square)[order], 0.0))


def fit_left(matrix: Values, right: Values) -> Values:
    """The left factors (rank, m) with which `right` (rank, n) comes nearest to the matrix."""
    left = np.empty((right.shape[0], matrix.shape[0]), np.float32)
    project(matrix, right, left)
    square = np.empty((right.shape[0], right.shape[0]))
    gram(right, square)
    square[np.diag_indices_from(square)] += RIDGE  # rows that became alike once decoded have no one solution
    solve(square, left)
    return left
