"""Fractions of a tensor, counted as people do."""

from __future__ import annotations

import math
from fractions import Fraction

from phloem.errors import CodecError


def check(name: str, fraction: float) -> None:
    """Raise CodecError unless the stage of this name keeps something."""
    if not 0.0 < fraction <= 1.0:
        raise CodecError(
            f"`fraction` of `{name}` should be above 0 and at most 1. Found {fraction}. "
            f"Write `{name}:0.01` to keep one in a hundred."
        )


def of(fraction: float, size: int) -> int:
    """So much of `size`, rounded up; 0.07 of 100 are 7, which floats alone would round up to 8."""
    return math.ceil(Fraction(repr(fraction)) * size)
