"""Logarithmic quantisation: a value becomes its sign and a power of two, or zero.

D. Miyashita, E. H. Lee and B. Murmann, "Convolutional neural networks using logarithmic data representation",
2016. With `rounding=stochastic` it is unbiased: S. Horváth et al., "Natural compression for distributed deep
learning", MSML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from phloem.compression.signal import Array, Spec, Symbols, Values, if_smaller
from phloem.compression.stage import Seed
from phloem.errors import CodecError, ConfigError, CorruptUpdate

BITS = range(2, 9)

# A float32 is a sign, eight bits of exponent and 23 of fraction; in powers of two the fraction is zero.
U32 = np.uint32
FRACTION_BITS = U32(23)
MAGNITUDE = U32(0x7FFFFFFF)
LARGEST_EXPONENT = 254
EXPONENT = Symbols((1,), bits=8)


@dataclass(frozen=True, slots=True)
class Log:
    """`bits` a value: zero, or plus or minus one of the `2**(bits - 1) - 1` powers of two up to the largest.

    Off by a third of the value at most, and below the smallest power by half of that power; with stochastic
    rounding by less than the value, or than the power. Made for heavy tails: on values of one magnitude it
    wastes its levels.

    >>> from phloem.compression.codec import codec
    >>> str(codec("log:4,rounding=stochastic"))
    'log:4,rounding=stochastic'
    """

    name: ClassVar[str] = "log"
    bits: int
    _: KW_ONLY
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise CodecError(
                f"`bits` of `log` should be in {BITS[0]}..{BITS[-1]}. Found {self.bits}. "
                "Use `sign` for one bit, `bf16` for sixteen."
            )

    @property
    def levels(self) -> int:
        """Powers of two on each side of zero."""
        return (1 << self.bits - 1) - 1

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become the largest exponent, and symbols in the values' own shape and order."""
        if not isinstance(spec, Values):
            return None
        return if_smaller((EXPONENT, Symbols(spec.shape, self.bits)), spec)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Round exponents, and count from the largest down."""
        values = array.ravel()
        bits = values.view(U32) & MAGNITUDE
        if self.rounding == "stochastic":
            random = np.random.default_rng(seed).integers(0, 1 << 23, values.size, U32)
            most = U32((1 << 23) - 1)
        else:
            random, most = np.full(values.size, 1 << 22, U32), U32(1 << 22)
        # Adding to the fraction carries into the exponent as often as it should.
        top = int(bits.max() + most >> FRACTION_BITS)
        if top > LARGEST_EXPONENT:
            raise ConfigError(
                f"`log` carries magnitudes up to 2**127. Found {np.abs(array).max():g}. "
                "Look for what diverged."
            )
        lowest = max(top - self.levels + 1, 1)
        ranks = (bits + random >> FRACTION_BITS).astype(np.int16) - np.int16(top - self.levels)
        small = bits < U32(lowest << 23)
        ranks[small] = self._small(values[small], random[small], lowest) * (lowest - top + self.levels)
        ranks = np.where(values < 0, -ranks, ranks) + np.int16(self.levels)
        return [np.array([top], np.uint8), ranks.astype(np.uint8).reshape(array.shape)], None

    def _small(self, values: Array, random: Array, lowest: int) -> NDArray[np.bool_]:
        """Which of the values below the smallest power round up to it, and not to zero."""
        share = np.abs(values).astype(np.float64) / 2.0 ** (lowest - 127)
        if self.rounding == "nearest":
            return share >= 0.5
        up: NDArray[np.bool_] = random < share * (1 << 23)
        return up

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Put sign and exponent together."""
        top, symbols = int(arrays[0][0]), arrays[1].astype(np.int16)
        ranks = np.abs(symbols - np.int16(self.levels))
        exponents = ranks + np.int16(top - self.levels)
        if (
            (symbols > 2 * self.levels).any()
            or ((exponents < 1) & (ranks > 0)).any()
            or top > LARGEST_EXPONENT
        ):
            raise CorruptUpdate(
                "A power of two should be normal and finite. Found another, or a wrong symbol."
            )
        magnitudes = np.where(ranks > 0, exponents, 0).astype(U32) << FRACTION_BITS
        negative = (symbols < self.levels).astype(U32) << U32(31)
        return (magnitudes | negative).view(np.float32)
