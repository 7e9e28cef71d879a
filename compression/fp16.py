"""Half precision: IEEE 754 binary16, rounded to nearest even."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.signal import Array, Spec, Symbols, Values
from phloem.compression.stage import Seed
from phloem.errors import ConfigError, CorruptUpdate

U32 = np.uint32
CUT = U32(13)  # a half has 10 bits of mantissa, a float32 has 23
SIGN, REST = U32(0x8000), U32(0x7FFF)
REBIAS = U32(112 << 23)  # exponents start at -15 in a half and at -127 in a float32
SMALLEST_NORMAL = U32(0x38800000)  # 2**-14, as bits of a float32
FIRST_INFINITE = U32(0x477FF000)  # 65520 rounds up to what a half calls infinity
HALF_INFINITE = U32(0x7C00)


@dataclass(frozen=True, slots=True)
class Fp16:
    """16 bits a value: off by at most `2**-11 * |x| + 2**-25`; refuses what would become infinite.

    >>> from phloem.compression.codec import codec
    >>> str(codec("lowrank:2|fp16"))
    'lowrank:2 | fp16'
    """

    name: ClassVar[str] = "fp16"

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become symbols of 16 bits."""
        return (Symbols(spec.shape, bits=16),) if isinstance(spec, Values) else None

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Round. Clamping instead would leave an error of any size without a word."""
        bits = array.view(U32)
        magnitude = bits & U32(0x7FFFFFFF)
        if magnitude.max(initial=0) >= FIRST_INFINITE:
            raise ConfigError(
                f"`fp16` carries magnitudes below 65520. Found {np.abs(array).max():g}. "
                "Use `linear:8`, which scales, or look for what diverged."
            )
        # NumPy's own conversion is 20 times slower where halves are subnormal, which is where updates live.
        odd = magnitude >> CUT & U32(1)
        normal = (magnitude + U32(0xFFF) + odd - REBIAS) >> CUT
        # In 0.5 .. 1 a float32's last bit is worth 2**-24, a subnormal half's: one addition rounds.
        subnormal = (magnitude.view(np.float32) + np.float32(0.5)).view(U32) - U32(0x3F000000)
        half = np.where(magnitude < SMALLEST_NORMAL, subnormal, normal) | bits >> U32(16) & SIGN
        return [half.astype(np.uint16)], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Widen, which is exact, and meet no subnormal float32, which some processors' modes flush."""
        half = arrays[0].astype(U32)
        magnitude = half & REST
        if magnitude.max(initial=0) >= HALF_INFINITE:
            raise CorruptUpdate("A half should be finite. Found NaN or infinity.")
        widened = (magnitude << CUT) + REBIAS
        normal = widened.view(np.float32)
        subnormal = (widened + U32(1 << 23)).view(np.float32) - np.float32(2.0**-14)
        value = np.where(magnitude < U32(0x0400), subnormal, normal)
        return (value.view(U32) | (half & SIGN) << U32(16)).view(np.float32)
