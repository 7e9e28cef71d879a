"""Structured sparsification: whole output channels travel, or none of their values.

H. Li et al., "Pruning filters for efficient ConvNets", ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from phloem.compression import fraction
from phloem.compression.kept import largest
from phloem.compression.signal import Array, Index, Spec, Values
from phloem.compression.stage import Seed


@dataclass(frozen=True, slots=True)
class Channels:
    """Keeps the `fraction` of rows (first axis) that are longest, rounded up; they stay exact, the rest is 0.

    Rows are ranked by their l2 norm, or by the sum of what the caller of `encode` finds important: with
    `by=importance` what the loss would miss, with `by=information` what they say of the label. Vectors pass.
    A row costs one position, and stays a row for what follows. Biased: put `ef` in front.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | channels:0.25 | linear:4,per=channel"))
    'ef | channels:0.25 | linear:4,per=channel'
    """

    name: ClassVar[str] = "channels"
    fraction: float
    _: KW_ONLY
    by: Literal["magnitude", "importance", "information"] = "magnitude"

    def __post_init__(self) -> None:
        fraction.check(self.name, self.fraction)

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become the rows' numbers and the rows."""
        if not isinstance(spec, Values) or len(spec.shape) < 2:
            return None
        rows = spec.shape[0]
        count = fraction.of(self.fraction, rows)
        return Index(count, bound=rows), Values((count, *spec.shape[1:]))

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Keep the longest rows."""
        return self._keep(array, np.sqrt(np.square(_rows(array)).sum(axis=1))), None

    def select(self, array: Array, scores: Array) -> list[Array]:
        """Keep the rows with the largest sums of scores."""
        return self._keep(array, np.abs(_rows(scores)).sum(axis=1))

    def _keep(self, array: Array, sums: Array) -> list[Array]:
        index = largest(sums, fraction.of(self.fraction, len(array)))
        return [index, array[index]]

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put the rows back in their places."""
        assert isinstance(spec, Values)
        index, rows = arrays
        array = np.zeros(spec.shape, np.float32)
        array[index] = rows
        return array


def _rows(array: Array) -> Array:
    """A matrix of float64, in which squares and sums do not overflow."""
    return array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)
