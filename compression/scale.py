"""Scales and levels as whole float32 numbers on the wire: positive or not, always finite and normal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.signal import Array, Symbols
from phloem.errors import CorruptUpdate

BITS = 32
MAGNITUDE = np.uint32(0x7FFFFFFF)
SMALLEST, INFINITE = np.uint32(0x00800000), np.uint32(0x7F800000)


def scales(count: int) -> Symbols:
    """The spec of so many of them."""
    return Symbols((count,), BITS)


def write(numbers: Array) -> NDArray[np.uint32]:
    """The bits of finite numbers; subnormal ones become zero, as some processors would make them."""
    found = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return np.where(found & MAGNITUDE < SMALLEST, np.uint32(0), found)


def read(symbols: Array) -> NDArray[np.float32]:
    """Invert `write`.

    Raises:
        CorruptUpdate: a number is infinite, not a number, subnormal, or zero with a sign.
    """
    magnitude = symbols & MAGNITUDE
    strange = symbols[((magnitude < SMALLEST) & (symbols != 0)) | (magnitude >= INFINITE)]
    if strange.size:
        raise CorruptUpdate(f"A scale should be zero, or normal and finite. Found {strange[0]:#010x}.")
    return symbols.view(np.float32)
