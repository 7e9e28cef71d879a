"""Top-k sparsification: only the largest values travel, with their positions.

A. F. Aji and K. Heafield, "Sparse communication for distributed gradient descent", EMNLP 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from phloem.compression import fraction, ranking
from phloem.compression.kept import Kept
from phloem.compression.kept import largest as largest  # others select as this stage does
from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed
from phloem.errors import CodecError

SCOPES = ("tensor", "update")


@dataclass(frozen=True, slots=True)
class TopK:
    """Keeps the `fraction` of largest magnitude, rounded up; what it keeps is exact, the rest becomes 0.

    Among equal magnitudes the first ones stay. With `scope=update` all tensors compete, and the number that
    stays in each of them travels; with `by=importance` what the caller of `encode` says counts in place of
    magnitudes. Biased: put `ef` in front, and what is left out comes later.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | topk:0.01 | linear:4"))
    'ef | topk:0.01 | linear:4'
    """

    name: ClassVar[str] = "topk"
    fraction: float
    _: KW_ONLY
    scope: str = "tensor"
    by: str = "magnitude"

    def __post_init__(self) -> None:
        fraction.check(self.name, self.fraction)
        if self.scope not in SCOPES:
            raise CodecError(f"`scope` of `topk` should be one of {', '.join(SCOPES)}. Found {self.scope!r}.")
        ranking.check(self.name, self.by)

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become positions and the values there; from the whole update, all may be in one tensor."""
        if not isinstance(spec, Values):
            return None
        return Kept(spec.size if self.scope == "update" else self.count(spec.size)).plan(spec)

    def count(self, size: int) -> int:
        """How many of `size` values stay."""
        return fraction.of(self.fraction, size)

    def most(self, spec: Spec) -> int | None:
        """How many may stay in a tensor, where that travels."""
        return spec.size if self.scope == "update" and isinstance(spec, Values) else None

    def shares(self, scores: Sequence[Array]) -> list[int]:
        """How many values stay in each tensor if all compete."""
        together = np.concatenate([tensor.ravel() for tensor in scores] or [np.zeros(0, np.float32)])
        ends = np.cumsum([tensor.size for tensor in scores])
        before = np.searchsorted(largest(together, self.count(together.size)), ends)
        return [int(count) for count in np.diff(before, prepend=0)]

    def fit(self, array: Array, spec: Spec, warm: Array | None, seed: Seed) -> tuple[int, Array | None]:
        """Not asked where `shares` has answered."""
        return self.count(array.size), None

    def at(self, number: int) -> Kept:
        """What keeps so many."""
        return Kept(number)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Select."""
        return self.select(array, array), None

    def select(self, array: Array, scores: Array) -> list[Array]:
        """Select by scores."""
        return Kept(self.count(array.size)).select(array, scores)

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed]) -> list[Array]:
        """Select in each."""
        return self._kept(spec).encode_many(arrays, spec, seeds)

    def decode_many(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put the values back in their places."""
        return self._kept(spec).decode_many(arrays, spec)

    def _kept(self, spec: Spec) -> Kept:
        assert isinstance(spec, Values)
        return Kept(self.count(spec.size))

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put the values back in their places."""
        return Kept(len(arrays[0])).decode(arrays, spec)
