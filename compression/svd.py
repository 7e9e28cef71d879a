"""Truncated singular value decomposition, to a given rank or to a share of the energy.

C. Eckart and G. Young, "The approximation of one matrix by another of lower rank", 1936; found by iterating a
subspace: N. Halko, P. G. Martinsson and J. A. Tropp, "Finding structure with randomness", 2011.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from phloem.compression.kernels.lowrank import diagonalize, gather, gram, orthonormalize, project
from phloem.compression.lowrank import LowRank
from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed
from phloem.errors import CodecError, ConfigError

MOST_RANK = 128
"""A share of the energy that needs more components is not worth looking for."""

FIRST_RANK = 8
SPARE = 8
"""Directions iterated beyond those wanted, so that the last wanted one converges."""

ITERATIONS, WARM_ITERATIONS = 6, 3

LARGEST = 1e38
"""The longest matrix that is carried: sums over it stay within float32."""


@dataclass(frozen=True, slots=True)
class Svd:
    """A tensor `(m, ...)` as a matrix `(m, n)` becomes the nearest factors `(rank, m)` and `(rank, n)`.

    With `energy`, as many components as carry that share of the sum of squares; their number travels. Tensors
    that the factors would not make smaller pass, whole. One power iteration, warm from the last update, is
    several times as fast and after a few updates as good: that is `lowrank`. Biased: put `ef` in front.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | svd:energy=0.9 | linear:8"))
    'ef | svd:energy=0.9 | linear:8'
    """

    name: ClassVar[str] = "svd"
    rank: int | None = None
    energy: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.energy is None):
            raise CodecError(
                "`svd` should get one of `rank` and `energy`. Found both or none. "
                "Write `svd:4` or `svd:energy=0.9`."
            )
        if self.rank is not None and self.rank < 1:
            raise CodecError(f"`rank` of `svd` should be 1 or more. Found {self.rank}. Try `svd:4`.")
        if self.energy is not None and not 0.0 < self.energy < 1.0:
            raise CodecError(
                f"`energy` of `svd` should be between 0 and 1. Found {self.energy}. Use `dense` for all."
            )

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become two factors, one row a component."""
        if self.rank is not None:
            return LowRank(self.rank).plan(spec)
        most = self.most(spec)
        return None if most is None else LowRank(most - 1).plan(spec)

    def most(self, spec: Spec) -> int | None:
        """One more than the largest rank: that says that the tensor passes."""
        if self.energy is None or not isinstance(spec, Values) or len(spec.shape) < 2:
            return None
        m, n = spec.shape[0], math.prod(spec.shape[1:])
        rank = min((m * n - 1) // (m + n), MOST_RANK) if m * n else 0
        return rank + 1 if rank > 0 else None

    def fit(self, array: Array, spec: Spec, warm: Array | None, seed: Seed) -> tuple[int, Array | None]:
        """The smallest rank that has the energy, looked for among twice as many components each time."""
        most = self.most(spec)
        assert most is not None
        assert self.energy is not None
        matrix = _matrix(array)
        wanted = self.energy * float(np.square(matrix, dtype=np.float64).sum())
        rank = min(FIRST_RANK, most - 1)
        while True:
            left, warm = components(matrix, rank, warm, seed)
            energies = np.cumsum(np.square(left, dtype=np.float64).sum(axis=1))
            if energies[-1] >= wanted:
                return int(np.searchsorted(energies, wanted)) + 1, warm
            if rank == most - 1:
                return most, None
            rank = min(2 * rank, most - 1)

    def at(self, number: int) -> _Exactly:
        """What finds so many components, or passes where they would be too many."""
        return _Exactly(number)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Find the leading components."""
        assert self.rank is not None
        return _Exactly(self.rank).encode(array, spec, warm, seed)

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Sum the outer products."""
        return _Exactly(len(arrays[0])).decode(arrays, spec)


@dataclass(frozen=True, slots=True)
class _Exactly:
    """So many components."""

    name: ClassVar[str] = "svd"
    rank: int

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        return LowRank(self.rank).plan(spec) if 0 < self.rank <= MOST_RANK else None

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        left, right = components(_matrix(array), self.rank, warm, seed)
        return [left, right], right

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        return LowRank(self.rank).decode(arrays, spec)


def components(matrix: Array, rank: int, warm: Array | None, seed: Seed) -> tuple[Array, Array]:
    """The leading components, `left` (rank, m) by `right` (rank, n): right orthonormal, left ever shorter.

    Without BLAS or LAPACK, whose last bits depend on the number of threads.
    """
    m, n = matrix.shape
    wanted = min(rank + SPARE, m, n)
    right = np.random.default_rng(seed).standard_normal((wanted, n), np.float32)
    known = 0
    if warm is not None and warm.shape[1] == n:
        known = min(len(warm), wanted)
        right[:known] = warm[:known]
    left = np.empty((wanted, m), np.float32)
    orthonormalize(right)
    for _ in range(WARM_ITERATIONS if known >= rank else ITERATIONS):
        project(matrix, right, left)
        orthonormalize(left)
        gather(matrix, left, right)
        orthonormalize(right)
    project(matrix, right, left)
    square, turn = np.empty((wanted, wanted)), np.empty((wanted, wanted))
    gram(left, square)
    diagonalize(square, turn)
    order = np.argsort(-np.diag(square), kind="stable")[:rank]
    turn = turn[order].astype(np.float32)
    best_left, best_right = np.empty((rank, m), np.float32), np.empty((rank, n), np.float32)
    gather(left, turn, best_left)
    gather(right, turn, best_right)
    return best_left, best_right


def _matrix(array: Array) -> Array:
    """The tensor as a matrix, of a length that float32 has room for."""
    matrix = array.reshape(len(array), -1)
    length = math.sqrt(float(np.square(matrix, dtype=np.float64).sum()))
    if not length < LARGEST:
        raise ConfigError(
            f"`svd` carries lengths below {LARGEST:.0e}. Found {length:g}. Look for what diverged."
        )
    return matrix
