"""A plane: a matrix of values, quantized with one step and coded in its own order.

After the integers follow the two reconstruction points, in sixteenths of a step: where values that became
one lie on average, and where larger ones do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Decoder, Encoder, Integers, Scale, Values, level_of
from phloem.compression.kernels.points import residues, restore

POINT_BITS = 3
LOWEST_POINT = -3
SIXTEENTH = 1 / 16

LEVEL_MODELS, ONE_MODELS, MORE_MODELS = 0, 32, 40
KIND_MODELS = 64
"""Room among the side models for one kind of plane, and the places within it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A plane that was written: its integers, reconstruction points and squared error in squared steps."""

    q: Integers
    one: int
    more: int
    error: float

    def values(self, step: float) -> Values:
        """What the decoder will see."""
        return _values(self.q, step, self.one, self.more)


def encode_plane(values: Values, encoder: Encoder, scale: Scale, kind: int) -> Coded:
    """Quantize and write a plane."""
    place = kind * KIND_MODELS
    level = level_of(float(np.abs(values).mean(dtype=np.float64)) * scale.inverse)
    encoder.number(place + LEVEL_MODELS, 5, level)
    q = encoder.rows(values, scale, kind, level)
    sums: NDArray[np.float64] = np.empty(5)
    residues(values, scale.inverse, q, sums)
    error, ones, above_one, mores, above_more = (float(s) for s in sums)
    one, won_one = _point(ones, above_one)
    more, won_more = _point(mores, above_more)
    if ones:
        encoder.number(place + ONE_MODELS, POINT_BITS, one - LOWEST_POINT)
    if mores:
        encoder.number(place + MORE_MODELS, POINT_BITS, more - LOWEST_POINT)
    return Coded(q, one, more, error - won_one - won_more)


def decode_plane(decoder: Decoder, shape: tuple[int, int], step: float, kind: int) -> Values:
    """Read a plane."""
    place = kind * KIND_MODELS
    q = decoder.rows(shape, kind, decoder.level(place + LEVEL_MODELS))
    size = np.abs(q)
    one = decoder.number(place + ONE_MODELS, POINT_BITS) + LOWEST_POINT if (size == 1).any() else 0
    more = decoder.number(place + MORE_MODELS, POINT_BITS) + LOWEST_POINT if (size > 1).any() else 0
    return _values(q, step, one, more)


def _values(q: Integers, step: float, one: int, more: int) -> Values:
    values = np.empty(q.shape, np.float32)
    restore(q, step, one * SIXTEENTH, more * SIXTEENTH, values)
    return values


def _point(count: float, above: float) -> tuple[int, float]:
    """The best point in sixteenths beside the integer, and what it wins in squared error."""
    if not count:
        return 0, 0.0
    highest = LOWEST_POINT + (1 << POINT_BITS) - 1
    point = min(max(round(above / count / SIXTEENTH), LOWEST_POINT), highest)
    shift = point * SIXTEENTH
    return point, shift * (2 * above - count * shift)
