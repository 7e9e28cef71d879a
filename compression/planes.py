"""A plane: a matrix of values, quantized and coded in its own order.

Plain values are coded as one block of rows. The rows of factors differ in size by orders of magnitude, for
each belongs to a weaker component; so each is a block of its own, with its size sent, and what is known of
the columns is carried over in proportion. A dense block is quantized dependently. After the integers, which
count half steps, follow two reconstruction points: how far values that became one or two lie beside it on
average, and how far larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Block, Decoder, Encoder, Integers, Scale, Values
from phloem.compression.kernels.points import mean_size, residues, restore, what_sizes

VALUES, RIGHT, LEFT = 0, 1, 2
"""Kinds of planes: plain values, right factors, left factors."""

LEVEL_BITS = 6
STARTS = [math.isqrt(1 << level) for level in range(48)]
"""Activities to begin with, in 1/256 steps, by level: two levels an octave."""

MOVE_BITS, MOST_RISE = 4, 3
"""From one block to the next the level moves by -12..3."""

POINT_BITS, LOWEST_POINT = 3, -3
POINT = 1 / 8
"""Reconstruction points lie this share of a half step apart."""

DEPENDENT_STEP = 1.125
"""Dependent quantization has less error at the same step; at this one a bit is worth the same."""

KIND_MODELS = 128
LEVEL_MODELS, MOVE_MODELS, NEAR_MODELS, FAR_MODELS, DEPENDENT_MODELS = 0, 64, 80, 88, 96
"""Room among the side models for one kind of plane, and the places within it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A plane that was written: its integers, each row's step, the points, and the error in squared steps."""

    halves: Integers
    steps: Values
    near: int
    far: int
    error: float = 0.0

    @property
    def values(self) -> Values:
        """What the decoder sees."""
        values = np.empty(self.halves.shape, np.float32)
        restore(self.halves, self.steps, self.near * POINT, self.far * POINT, values)
        return values


def encode_plane(values: Values, encoder: Encoder, scale: Scale, kind: int) -> Coded:
    """Quantize and write a plane."""
    side = kind * KIND_MODELS
    steps = np.empty(len(values), np.float32)
    halves = np.empty(values.shape, np.int32)
    activity = np.empty(0, np.int64)
    level = 0
    for rows in _blocks(len(values), kind):
        mean = mean_size(values[rows]) * scale.inverse
        before, level = level, _level_of(mean)
        if rows.start == 0:
            encoder.number(side + LEVEL_MODELS, LEVEL_BITS, level)
        else:
            move = min(max(before - level + MOST_RISE, 0), (1 << MOVE_BITS) - 1)
            encoder.number(side + MOVE_MODELS, MOVE_BITS, move)
            level = _moved(before, move)
        dependent = mean >= scale.dense
        encoder.number(side + DEPENDENT_MODELS, 1, dependent)
        own = _own(scale, dependent)
        activity = _carried(activity, before, level, values.shape[1])
        block = Block(kind, dependent, STARTS[level], rows.start, activity)
        halves[rows] = encoder.rows(values[rows], own, block)
        steps[rows] = own.step
    sums: NDArray[np.float64] = np.empty(5)
    residues(values, steps, halves, sums)
    error, nears, pull_near, fars, pull_far = (float(s) for s in sums)
    near, won_near = _point(nears, pull_near)
    far, won_far = _point(fars, pull_far)
    if nears:
        encoder.number(side + NEAR_MODELS, POINT_BITS, near - LOWEST_POINT)
    if fars:
        encoder.number(side + FAR_MODELS, POINT_BITS, far - LOWEST_POINT)
    share = (float(steps[0]) / scale.step) ** 2
    return Coded(halves, steps, near, far, (error - won_near - won_far) * share)


def decode_plane(decoder: Decoder, shape: tuple[int, int], step: float, kind: int) -> Values:
    """Read a plane."""
    side = kind * KIND_MODELS
    steps = np.empty(shape[0], np.float32)
    halves = np.empty(shape, np.int32)
    activity = np.empty(0, np.int64)
    level = 0
    for rows in _blocks(shape[0], kind):
        before = level
        if rows.start == 0:
            level = min(decoder.number(side + LEVEL_MODELS, LEVEL_BITS), len(STARTS) - 1)
        else:
            level = _moved(before, decoder.number(side + MOVE_MODELS, MOVE_BITS))
        dependent = bool(decoder.number(side + DEPENDENT_MODELS, 1))
        activity = _carried(activity, before, level, shape[1])
        block = Block(kind, dependent, STARTS[level], rows.start, activity)
        halves[rows] = decoder.rows((rows.stop - rows.start, shape[1]), block)
        steps[rows] = _own(Scale(step, 0.0), dependent).step
    sizes = what_sizes(halves)
    near = decoder.number(side + NEAR_MODELS, POINT_BITS) + LOWEST_POINT if sizes & 1 else 0
    far = decoder.number(side + FAR_MODELS, POINT_BITS) + LOWEST_POINT if sizes & 2 else 0
    return Coded(halves, steps, near, far).values


def _blocks(rows: int, kind: int) -> Iterator[slice]:
    size = rows if kind == VALUES else 1
    return (slice(start, start + size) for start in range(0, rows, size))


def _level_of(mean: float) -> int:
    return min(max(round(2 * math.log2(max(256 * mean, 1.0))), 0), len(STARTS) - 1)


def _moved(level: int, move: int) -> int:
    return min(max(level - move + MOST_RISE, 0), len(STARTS) - 1)


def _own(scale: Scale, dependent: bool) -> Scale:
    """A block's own step, with the same price in absolute terms."""
    if not dependent:
        return scale
    return Scale(scale.step * DEPENDENT_STEP, scale.price / DEPENDENT_STEP**2)


def _carried(activity: NDArray[np.int64], before: int, level: int, columns: int) -> NDArray[np.int64]:
    """The columns' activity at a new level: in proportion to that before, or all alike at the start."""
    if not activity.size:
        return np.full(columns, STARTS[level], np.int64)
    return activity * STARTS[level] // STARTS[before]


def _point(weight: float, pull: float) -> tuple[int, float]:
    """The best point beside the integer, and what it wins in squared error."""
    if not weight:
        return 0, 0.0
    highest = LOWEST_POINT + (1 << POINT_BITS) - 1
    point = min(max(round(pull / weight / POINT), LOWEST_POINT), highest)
    shift = point * POINT
    return point, shift * (2 * pull - weight * shift)
