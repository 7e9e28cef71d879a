"""Top-k sparsification: only the largest values travel, with their positions.

A. F. Aji and K. Heafield, "Sparse communication for distributed gradient descent", EMNLP 2017. The warm-up is
that of Y. Lin et al., "Deep gradient compression", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from phloem.compression import fraction
from phloem.compression.kept import Kept
from phloem.compression.kept import largest as largest  # others select as this stage does
from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed
from phloem.errors import CodecError

LONGEST_WARMUP = 10_000


@dataclass(frozen=True, slots=True)
class TopK:
    """Keeps the `fraction` of largest magnitude, rounded up; what it keeps is exact, the rest becomes 0.

    Among equal magnitudes the first ones stay. With `scope=update` all tensors compete, and the number that
    stays in each of them travels; with `by=importance` what the caller of `encode` says counts in place of
    magnitudes. Biased: put `ef` in front, and what is left out comes later.

    A sender's first `warmup` updates keep more, `fraction ** ((t + 1) / (warmup + 1))` of update t from 0 on:
    with `topk:0.001,warmup=4` 25 %, 6.3 %, 1.6 %, 0.4 %, then 0.1 %. The sender's state counts its updates;
    the number that stays travels, so a receiver has nothing to count.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | topk:0.01 | linear:4"))
    'ef | topk:0.01 | linear:4'
    """

    name: ClassVar[str] = "topk"
    fraction: float
    _: KW_ONLY
    scope: Literal["tensor", "update"] = "tensor"
    by: Literal["magnitude", "importance"] = "magnitude"
    warmup: int = 0

    def __post_init__(self) -> None:
        fraction.check(self.name, self.fraction)
        if not 0 <= self.warmup <= LONGEST_WARMUP:
            raise CodecError(
                f"`warmup` of `topk` should be a number of updates up to {LONGEST_WARMUP}. "
                f"Found {self.warmup}. Leave it out to begin with the fraction itself."
            )

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become positions and the values there; all of them, at the most, where that is open."""
        if not isinstance(spec, Values):
            return None
        return Kept(spec.size if self._is_open else self.count(spec.size)).plan(spec)

    @property
    def _is_open(self) -> bool:
        return self.scope == "update" or self.warmup > 0

    def count(self, size: int, sent: int | None = None) -> int:
        """How many of `size` values stay once so many updates were `sent`; None is after the warm-up."""
        if sent is None or sent >= self.warmup:
            return fraction.of(self.fraction, size)
        # Four digits: the last bits of a power are not the same on every machine.
        share = float(f"{self.fraction ** ((sent + 1) / (self.warmup + 1)):.4g}")
        return fraction.of(share, size)

    def most(self, spec: Spec) -> int | None:
        """How many may stay in a tensor, where that travels."""
        return spec.size if self._is_open and isinstance(spec, Values) else None

    def shares(self, scores: Sequence[Array], warm: Sequence[Array | None]) -> list[tuple[int, Array | None]]:
        """How many values stay in each tensor if all compete."""
        together = np.concatenate([tensor.ravel() for tensor in scores] or [np.zeros(0, np.float32)])
        sent = max(map(_sent, warm), default=0)
        ends = np.cumsum([tensor.size for tensor in scores])
        before = np.searchsorted(largest(together, self.count(together.size, sent)), ends)
        return [(int(count), self._next(sent)) for count in np.diff(before, prepend=0)]

    def fit(self, array: Array, spec: Spec, warm: Array | None, seed: Seed) -> tuple[int, Array | None]:
        """How many values stay at this update; not asked where `shares` has answered."""
        sent = _sent(warm)
        return self.count(array.size, sent), self._next(sent)

    def _next(self, sent: int) -> Array | None:
        """What the state holds after one more update."""
        return np.full((1, 1), min(sent + 1, self.warmup), np.float32) if self.warmup else None

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


def _sent(warm: Array | None) -> int:
    """How many updates of the warm-up were sent; what another codec left behind does not count."""
    return int(warm[0, 0]) if warm is not None and warm.shape == (1, 1) else 0
