"""Top-k sparsification: only the largest values travel, with their positions.

A. F. Aji and K. Heafield, "Sparse communication for distributed gradient descent", EMNLP 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression import fraction
from phloem.compression.signal import Array, Index, Spec, Values
from phloem.compression.stage import Seed


@dataclass(frozen=True, slots=True)
class TopK:
    """Keeps the `fraction` of largest magnitude, rounded up; what it keeps is exact, the rest becomes 0.

    Among equal magnitudes the first ones stay. Biased: put `ef` in front, and what is left out comes later.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | topk:0.01 | linear:4"))
    'ef | topk:0.01 | linear:4'
    """

    name: ClassVar[str] = "topk"
    fraction: float

    def __post_init__(self) -> None:
        fraction.check(self.name, self.fraction)

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become positions and the values there, in the order of the positions."""
        if not isinstance(spec, Values):
            return None
        index = Index.into(spec, self.count(spec.size))
        return index, Values((index.count,))

    def count(self, size: int) -> int:
        """How many of `size` values stay."""
        return fraction.of(self.fraction, size)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Select."""
        values = array.ravel()
        index = largest(values, self.count(values.size))
        return [index, values[index]], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put the values back in their places."""
        assert isinstance(spec, Values)
        index, values = arrays
        return scatter(index, values, spec.shape)


def scatter(index: Array, values: Array, shape: tuple[int, ...]) -> Array:
    """Zeros, and the values at their positions."""
    array = np.zeros(shape, np.float32)
    array.reshape(-1)[index] = values
    return array


def largest(values: Array, count: int) -> Array:
    """The positions of the `count` largest magnitudes, increasing; of equal ones the first."""
    magnitudes = np.abs(values)
    # The threshold is one number however the selection finds it: the result depends on no algorithm. Where
    # zeros are kept it is zero, and the selection, slow among equals, is spared.
    threshold = np.float32(0)
    if count < np.count_nonzero(values):
        threshold = np.partition(magnitudes, values.size - count)[values.size - count]
    taken = magnitudes > threshold
    ties = np.flatnonzero(magnitudes == threshold)
    taken[ties[: count - np.count_nonzero(taken)]] = True
    return np.flatnonzero(taken)
