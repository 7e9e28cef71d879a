"""Soft thresholding: the proximal step of an L1 penalty, which leaves exact zeros.

N. Parikh and S. Boyd, "Proximal algorithms", Foundations and Trends in Optimization 1, 2014. A gradient step
on the penalty would make values small, and none of them zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.kept import Kept
from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed
from phloem.errors import CodecError

LARGEST = 1e38
"""No value that a codec carries is much larger."""


@dataclass(frozen=True, slots=True)
class Soft:
    """Moves every value towards zero by `strength`, and leaves those out that reach it.

    What arrives minimises `|x - values|^2 / 2 + strength * |x|_1`. The number of values that stay travels.
    Behind `ef` what is taken off comes later, so that in the end nothing is penalised.

    >>> from phloem.compression.codec import codec
    >>> str(codec("soft:0.001 | linear:4"))
    'soft:0.001 | linear:4'
    """

    name: ClassVar[str] = "soft"
    strength: float

    def __post_init__(self) -> None:
        if not 0.0 < self.strength < LARGEST:
            raise CodecError(f"`strength` of `soft` should be above 0 and below 1e38. Found {self.strength}.")

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become positions and what is left of the values there; all of them, at the most."""
        return Kept(spec.size).plan(spec) if isinstance(spec, Values) else None

    def most(self, spec: Spec) -> int | None:
        """How many may stay."""
        return spec.size if isinstance(spec, Values) else None

    def fit(self, array: Array, spec: Spec, warm: Array | None, seed: Seed) -> tuple[int, Array | None]:
        """How many stay."""
        return int(np.count_nonzero(np.abs(array) > np.float32(self.strength))), None

    def at(self, number: int) -> Kept:
        """What keeps so many, shrunk."""
        return Kept(number, less=self.strength)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """See `at`."""
        return self.at(self.fit(array, spec, warm, seed)[0]).encode(array, spec, warm, seed)

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """See `at`."""
        return self.at(len(arrays[0])).decode(arrays, spec)
