"""bfloat16: the upper half of a float32, rounded to nearest even."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.signal import Array, Spec, Symbols, Values
from phloem.compression.stage import Seed
from phloem.errors import ConfigError, CorruptUpdate

U16, U32 = np.uint16, np.uint32
HALF_BITS = U32(16)
MAGNITUDE, INFINITE = U16(0x7FFF), U16(0x7F80)


@dataclass(frozen=True, slots=True)
class Bf16:
    """16 bits a value, with float32's range: off by at most `2**-8 * |x|`, and for subnormal x by `2**-134`.

    >>> from phloem.compression.codec import codec
    >>> str(codec("lowrank:2|bf16"))
    'lowrank:2 | bf16'
    """

    name: ClassVar[str] = "bf16"

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become symbols of 16 bits."""
        return (Symbols(spec.shape, bits=16),) if isinstance(spec, Values) else None

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Round in integers: half of what is cut is added, a little less where the last bit kept is even."""
        bits = array.view(U32)
        rounded = (bits >> HALF_BITS & U32(1)) + U32(0x7FFF)
        rounded += bits
        rounded >>= HALF_BITS
        halves = rounded.astype(U16)
        if (halves & MAGNITUDE).max(initial=0) >= INFINITE:
            raise ConfigError(
                f"`bf16` carries magnitudes up to 3.39e+38. Found {np.abs(array).max():g}. "
                "Look for what diverged."
            )
        return [halves], None

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed]) -> list[Array]:
        """Round."""
        return self.encode(arrays, spec, None, ())[0]

    def decode_many(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Widen."""
        return self.decode(arrays, spec)

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Widen, which is exact."""
        halves = arrays[0]
        if (halves & MAGNITUDE).max(initial=0) >= INFINITE:
            raise CorruptUpdate("A bfloat16 should be finite. Found NaN or infinity.")
        return (halves.astype(U32) << HALF_BITS).view(np.float32)
