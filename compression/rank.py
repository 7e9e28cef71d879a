"""How many components of a matrix are worth their bits: reverse water-filling, before anything is coded."""

from __future__ import annotations

import math

from phloem.compression.entropy import Scale
from phloem.compression.factors import FIRST_RANK, Components

FACTOR_NOISE = 1 / 16
"""Squared error of a coded factor value in squared steps."""


def wanted_rank(components: Components, scale: Scale) -> int:
    """How many components are worth their bits, were their values Gaussian."""
    m, n = components.matrix.shape
    components.grow(FIRST_RANK)
    while True:
        known = len(components.strength)
        rank = 0
        while rank < known and _is_worth(components.strength[rank] * scale.inverse, (m, n), scale.price):
            rank += 1
        if rank < known or known == components.most:
            return rank
        components.grow(2 * known)


def _is_worth(strength: float, sides: tuple[int, int], price: float) -> bool:
    bits = error = 0.0
    for side in sides:
        variance = strength**2 / side
        bits += side / 2 * math.log2(1 + variance / FACTOR_NOISE)
        error += side * min(FACTOR_NOISE, variance)
    return strength**2 - error > price * bits
