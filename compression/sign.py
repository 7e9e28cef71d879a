"""One bit a value: its sign, times the tensor's mean magnitude.

J. Bernstein et al., "signSGD: compressed optimisation for non-convex problems", ICML 2018; with error
feedback, S. P. Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression import scale
from phloem.compression.signal import Array, Spec, Symbols, Values, if_smaller
from phloem.compression.stage import Seed


@dataclass(frozen=True, slots=True)
class Sign:
    """The sign and one scale a tensor; zero counts as positive. Biased: put `ef` in front.

    `linear:1` is the same with a scale for each block of 128.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef | sign"))
    'ef | sign'
    """

    name: ClassVar[str] = "sign"

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become a scale, and a bit each."""
        if not isinstance(spec, Values):
            return None
        return if_smaller((scale.scales(1), Symbols(spec.shape, bits=1)), spec)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Take the signs; with the mean magnitude they are as near as signs can be."""
        return [scale.write(mean_magnitude(array)), (array >= 0).astype(np.uint8)], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Scale the signs."""
        return signed(scale.read(arrays[0])[0], arrays[1])


def mean_magnitude(values: Array) -> Array:
    """As an array of one; 0 where there are no values."""
    magnitudes = np.abs(values.ravel()).astype(np.float64)
    return np.array([magnitudes.sum() / max(magnitudes.size, 1)])


def signed(magnitude: np.float32, bits: Array) -> Array:
    """The magnitude where the bit is one, and minus it where it is zero."""
    return np.where(bits == 1, magnitude, -magnitude)
