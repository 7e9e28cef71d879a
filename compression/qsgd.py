"""QSGD: levels spread evenly up to the tensor's length, and stochastic rounding.

D. Alistarh et al., "QSGD: Communication-efficient SGD via gradient quantization and encoding", NeurIPS 2017.
Kept for comparison: `linear` with stochastic rounding scales by the largest magnitude of a block instead, and
has a smaller error at the same number of bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression import scale
from phloem.compression.signal import Array, Spec, Symbols, Values, if_smaller
from phloem.compression.stage import Seed
from phloem.errors import CodecError, ConfigError, CorruptUpdate

LEVELS = range(1, 128)


@dataclass(frozen=True, slots=True)
class Qsgd:
    """`levels` on each side of zero, from zero to the l2 norm of the tensor; unbiased.

    The expected squared error over the square is at most `min(n / levels**2, sqrt(n) / levels)` for n values.

    >>> from phloem.compression.codec import codec
    >>> str(codec("qsgd:7 | zstd"))
    'qsgd:7 | zstd'
    """

    name: ClassVar[str] = "qsgd"
    levels: int

    def __post_init__(self) -> None:
        if self.levels not in LEVELS:
            raise CodecError(
                f"`levels` of `qsgd` should be in {LEVELS[0]}..{LEVELS[-1]}. Found {self.levels}. "
                "It takes 2 * levels + 1 symbols: 7 for 4 bits, 127 for 8."
            )

    @property
    def bits(self) -> int:
        """The size of a symbol."""
        return (2 * self.levels).bit_length()

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become their length, and symbols in the values' own shape."""
        if not isinstance(spec, Values):
            return None
        return if_smaller((scale.scales(1), Symbols(spec.shape, self.bits)), spec)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Divide by the length and round up or down at random."""
        values = array.astype(np.float64)
        length = np.sqrt(np.square(values).sum())
        if length > np.finfo(np.float32).max:
            raise ConfigError(
                f"`qsgd` carries lengths below 3.4e+38. Found {length:g}. Look for what diverged."
            )
        norm = scale.write(np.array([length]))
        values *= self.levels / (scale.read(norm)[0].astype(np.float64) or np.inf)
        values += self.levels + np.random.default_rng(seed).random(array.shape)
        # One value alone may exceed its own rounded length; the conversion rounds down.
        return [norm, np.clip(values, 0, 2 * self.levels).astype(np.uint8)], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Count back and scale."""
        symbols = arrays[1]
        if symbols.max() > 2 * self.levels:
            raise CorruptUpdate(f"Symbols should be at most {2 * self.levels}. Found {symbols.max()}.")
        values = symbols.astype(np.float32)
        values -= np.float32(self.levels)
        values *= scale.read(arrays[0])[0] / np.float32(self.levels)
        return values
