"""Threshold sparsification: whatever is large enough travels, however many values that are.

N. Ström, "Scalable distributed DNN training using commodity GPU cloud computing", Interspeech 2015. After
J. Frankle and others it is also called magnitude pruning.
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
class Threshold:
    """Keeps values of at least this `magnitude`, which stay exact; the rest becomes 0. Their number travels.

    Biased: put `ef` in front.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | threshold:0.001 | linear:4"))
    'ef | threshold:0.001 | linear:4'
    """

    name: ClassVar[str] = "threshold"
    magnitude: float

    def __post_init__(self) -> None:
        if not 0.0 < self.magnitude < LARGEST:
            raise CodecError(
                f"`magnitude` of `threshold` should be above 0 and below 1e38. Found {self.magnitude}. "
                "Use `topk` to keep a given share."
            )

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become positions and the values there; all of them, at the most."""
        return Kept(spec.size).plan(spec) if isinstance(spec, Values) else None

    def most(self, spec: Spec) -> int | None:
        """How many may stay."""
        return spec.size if isinstance(spec, Values) else None

    def fit(self, array: Array, spec: Spec, warm: Array | None, seed: Seed) -> tuple[int, Array | None]:
        """How many stay."""
        return int(np.count_nonzero(np.abs(array) >= np.float32(self.magnitude))), None

    def at(self, number: int) -> Kept:
        """What keeps so many: the largest ones."""
        return Kept(number)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """See `at`."""
        return self.at(self.fit(array, spec, warm, seed)[0]).encode(array, spec, warm, seed)

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """See `at`."""
        return self.at(len(arrays[0])).decode(arrays, spec)
