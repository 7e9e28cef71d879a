"""A plane: a matrix of values, quantized and coded row by row.

The rows of factors differ in size by orders of magnitude, for each belongs to a weaker component; what is
known of their columns is carried over in proportion. A dense row is quantized dependently. After the
integers, which count half steps, follow two reconstruction points: how far values that became one or two lie
beside it on average, and how far larger ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Block, Decoder, Encoder, Integers, Scale, Values
from phloem.compression.kernels.encoding import DEPENDENT_STEP
from phloem.compression.kernels.points import mean_size, restore, what_sizes
from phloem.errors import CorruptUpdate

VALUES, RIGHT, LEFT = 0, 1, 2
"""Kinds of planes: plain values, right factors, left factors."""

LEVEL_BITS = 6
STARTS = [2.0 ** (level / 2 - 10) for level in range(1 << LEVEL_BITS)]
"""Activities to begin with, by level: two levels an octave."""

POINT_BITS, LOWEST_POINT = 3, -3
POINT = 1 / 8
"""Reconstruction points lie this share of a half step apart."""

EXACT, EXACT_BITS = 7, 32
"""The number that says that the point itself follows, for values that are all of one size."""

KIND_MODELS = 128
LEVEL_MODELS, NEAR_MODELS, FAR_MODELS = 0, 80, 88
"""Room among the side models for one kind of plane, and the places within it."""

NARROW = 64
"""Narrower rows are joined: each has a scale of its own, which is not worth it for fewer values."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A plane that was written, what the decoder sees if that was wanted, and the error in squared steps."""

    values: Values | None
    error: float


def encode_plane(values: Values, encoder: Encoder, scale: Scale, kind: int, keep: bool = False) -> Coded:
    """Quantize and write a plane; with `keep` give the values that the decoder will see."""
    side = kind * KIND_MODELS
    joined = values.reshape(_joined(values.shape, kind))
    level = _level_of(mean_size(joined) * scale.inverse)
    encoder.number(side + LEVEL_MODELS, LEVEL_BITS, level)
    written = encoder.rows(joined, scale, _block(kind, level), keep)
    error, nears, pull_near, fars, pull_far = (float(s) for s in written.sums)
    near, won_near = _point(nears, pull_near, scale.price)
    far, won_far = _point(fars, pull_far, scale.price)
    if nears:
        _send(encoder, side + NEAR_MODELS, near)
    if fars:
        _send(encoder, side + FAR_MODELS, far)
    seen = _restored(written.halves, written.dependents, scale.step, near, far) if keep else None
    return Coded(seen, error - won_near - won_far)


def decode_plane(decoder: Decoder, shape: tuple[int, int], step: float, kind: int) -> Values:
    """Read a plane."""
    side = kind * KIND_MODELS
    level = decoder.number(side + LEVEL_MODELS, LEVEL_BITS)
    halves, dependents = decoder.rows(_joined(shape, kind), _block(kind, level))
    sizes = what_sizes(halves)
    near = _receive(decoder, side + NEAR_MODELS) if sizes & 1 else 0.0
    far = _receive(decoder, side + FAR_MODELS) if sizes & 2 else 0.0
    return _restored(halves, dependents, step, near, far).reshape(shape)


def _joined(shape: tuple[int, ...], kind: int) -> tuple[int, int]:
    """The shape in which a plane is coded: narrow rows are joined where their number divides."""
    rows, columns = shape[0], shape[1]
    if kind != VALUES or columns >= NARROW:
        return rows, columns
    wanted = -(-NARROW // columns)
    many = next((many for many in range(wanted, min(4 * wanted, rows)) if rows % many == 0), rows)
    return rows // many, columns * many


def _block(kind: int, level: int) -> Block:
    return Block(kind, kind != VALUES, STARTS[level])


def _restored(
    halves: Integers, dependents: NDArray[np.uint8], step: float, near: float, far: float
) -> Values:
    """The values of integers, in their memory."""
    values = halves.view(np.float32)
    steps = np.where(dependents, np.float32(step * DEPENDENT_STEP), np.float32(step))
    restore(halves, steps, near, far, values)
    return values


def _level_of(mean: float) -> int:
    return min(max(round(2 * math.log2(max(mean, 2.0**-10)) + 20), 0), len(STARTS) - 1)


def _point(weight: float, pull: float, price: float) -> tuple[float, float]:
    """The best point beside the integer, in half steps, and what it wins in squared error."""
    if not weight:
        return 0.0, 0.0
    best = float(np.float32(pull / weight))
    point = min(max(round(best / POINT), LOWEST_POINT), LOWEST_POINT + EXACT - 1) * POINT
    if weight * (best - point) ** 2 > price * EXACT_BITS and abs(best) <= 1:
        point = best
    return point, point * (2 * pull - weight * point)


def _send(encoder: Encoder, place: int, point: float) -> None:
    number = point / POINT
    if number.is_integer() and LOWEST_POINT <= number < LOWEST_POINT + EXACT:
        encoder.number(place, POINT_BITS, int(number) - LOWEST_POINT)
    else:
        encoder.number(place, POINT_BITS, EXACT)
        encoder.number(-1, EXACT_BITS, int(np.array([point], np.float32).view(np.uint32)[0]))


def _receive(decoder: Decoder, place: int) -> float:
    number = decoder.number(place, POINT_BITS)
    if number < EXACT:
        return (number + LOWEST_POINT) * POINT
    point = float(np.array([decoder.number(-1, EXACT_BITS)], np.uint32).view(np.float32)[0])
    if not abs(point) <= 1:
        raise CorruptUpdate(f"A point should lie within half a step of its integer. Found {point}.")
    return point
