"""Half precision: IEEE 754 binary16, rounded to nearest even."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from phloem.compression.signal import Array, Spec, Symbols, Values
from phloem.compression.stage import Seed
from phloem.errors import ConfigError, CorruptUpdate

FIRST_INFINITE = 65520
"""Rounds up to what a half calls infinity."""

CHUNK = 1 << 15

# Bits of float32 numbers, then of halves. A half has 10 bits of mantissa for float32's 23, and exponents that
# start at -15, not at -127.
U32 = np.uint32
CUT = U32(13)
REBIAS, ONE_EXPONENT = U32(112 << 23), U32(1 << 23)
HALF, SMALLEST_NORMAL = U32(0x3F000000), U32(0x38800000)
SIGN, INFINITE_HALF, SMALLEST_NORMAL_HALF = U32(0x8000), U32(0x7C00), U32(0x0400)


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
        largest = np.abs(array).max(initial=0)
        if largest >= FIRST_INFINITE:
            raise ConfigError(
                f"`fp16` carries magnitudes below {FIRST_INFINITE}. Found {largest:g}. "
                "Use `linear:8`, which scales, or look for what diverged."
            )
        return [_in_chunks(_narrow, array.view(U32), np.uint16)], None

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed]) -> list[Array]:
        """Round."""
        return self.encode(arrays, spec, None, ())[0]

    def decode_many(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Widen."""
        return self.decode(arrays, spec)

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Widen, which is exact."""
        return _in_chunks(_widen, arrays[0], U32).view(np.float32)


def _in_chunks(
    convert: Callable[[Array], Array], array: Array, dtype: type[np.unsignedinteger[Any]]
) -> Array:
    """Convert so little at a time that what is between stays in the cache."""
    converted = np.empty(array.size, dtype)
    for start in range(0, array.size, CHUNK):
        part = slice(start, start + CHUNK)
        converted[part] = convert(array.reshape(-1)[part])
    return converted.reshape(array.shape)


def _narrow(bits: Array) -> Array:
    """The bits of float32 numbers to those of halves.

    NumPy's own conversion is 20 times slower where halves are subnormal, which is where updates live.
    """
    magnitude = bits & U32(0x7FFFFFFF)
    odd = magnitude >> CUT & U32(1)
    normal = (magnitude + U32(0xFFF) + odd - REBIAS) >> CUT
    # In 0.5 .. 1 a float32's last bit is worth 2**-24, as a subnormal half's is: one addition rounds.
    subnormal = (magnitude.view(np.float32) + np.float32(0.5)).view(U32) - HALF
    half: Array = np.where(magnitude < SMALLEST_NORMAL, subnormal, normal) | bits >> U32(16) & SIGN
    return half


def _widen(symbols: Array) -> Array:
    """The bits of halves to those of float32 numbers.

    Without meeting a subnormal float32: there are processor modes that make zeros of them.
    """
    half = symbols.astype(U32)
    magnitude = half & ~SIGN
    if magnitude.max() >= INFINITE_HALF:
        raise CorruptUpdate("A half should be finite. Found NaN or infinity.")
    normal = (magnitude << CUT) + REBIAS
    subnormal = (normal + ONE_EXPONENT).view(np.float32) - np.float32(2.0**-14)
    widened: Array = np.where(magnitude < SMALLEST_NORMAL_HALF, subnormal.view(U32), normal)
    widened |= (half & SIGN) << U32(16)
    return widened
