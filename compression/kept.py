"""A given number of values with their positions: what the sparsifiers that select have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.signal import Array, Index, Spec, Values
from phloem.compression.stage import Seed


@dataclass(frozen=True, slots=True)
class Kept:
    """Keeps `count` values, each nearer to zero by `less`. No codec names it: other stages become it."""

    name: ClassVar[str] = "kept"
    by: ClassVar[str] = "magnitude"
    count: int
    less: float = 0.0

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become positions and the values there, in the order of the positions."""
        if not isinstance(spec, Values):
            return None
        return Index.into(spec, self.count), Values((self.count,))

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Keep the largest magnitudes, and whatever memory came along."""
        return self.select(array, array), warm

    def select(self, array: Array, scores: Array) -> list[Array]:
        """Keep where the scores' magnitudes are largest."""
        index = largest(scores.ravel(), self.count)
        values = array.ravel()[index]
        if self.less:
            values -= np.copysign(np.float32(self.less), values)
        return [index, values]

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed]) -> list[Array]:
        """Keep the largest magnitudes of each."""
        rows = arrays.reshape(len(arrays), math.prod(arrays.shape[1:]))
        index = largest_of_each(rows, self.count)
        return [index, np.take_along_axis(rows, index, axis=1)]

    def decode_many(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put the values back in their places."""
        assert isinstance(spec, Values)
        index, values = arrays
        rows = np.zeros((len(index), spec.size), np.float32)
        np.put_along_axis(rows, index, values, axis=1)
        return rows.reshape(len(index), *spec.shape)

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put the values back in their places."""
        assert isinstance(spec, Values)
        index, values = arrays
        return scatter(index, values, spec.shape)


def largest(values: Array, count: int) -> Array:
    """The positions of the `count` largest magnitudes, increasing; of equal ones the first."""
    magnitudes = np.abs(values)
    # The threshold is one number however the selection finds it: the result depends on no algorithm. Where
    # zeros are kept it is zero, and the selection, slow among equals, is spared.
    threshold = np.float32(0)
    if count == 0:
        return np.zeros(0, np.int64)
    if count < np.count_nonzero(values):
        threshold = np.partition(magnitudes, values.size - count)[values.size - count]
    taken = magnitudes > threshold
    ties = np.flatnonzero(magnitudes == threshold)
    taken[ties[: count - np.count_nonzero(taken)]] = True
    return np.flatnonzero(taken)


def largest_of_each(rows: Array, count: int) -> Array:
    """`largest` of each row, one row of positions each."""
    height, size = rows.shape
    if count == 0 or height == 0:
        return np.zeros((height, count), np.int64)
    magnitudes = np.abs(rows)
    thresholds = np.partition(magnitudes, size - count, axis=1)[:, size - count, None]
    taken, ties = magnitudes > thresholds, magnitudes == thresholds
    wanted = count - np.count_nonzero(taken, axis=1)
    if (np.count_nonzero(ties, axis=1) > wanted).any():
        ties &= np.cumsum(ties, axis=1, dtype=np.int32) <= wanted[:, None]
    taken |= ties
    places = np.flatnonzero(taken).reshape(height, count)
    return places - np.arange(0, height * size, size)[:, None]


def scatter(index: Array, values: Array, shape: tuple[int, ...]) -> Array:
    """Zeros, and the values at their positions."""
    array = np.zeros(shape, np.float32)
    array.reshape(-1)[index] = values
    return array
