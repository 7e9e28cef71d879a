"""How one tensor is coded: the modes of `rdo`, and the choice between them.

Each mode that could win is really written, from the same state of the coder, and the one with the smallest
squared error + price x bits stays. One price for all tensors is what gives each the rate it deserves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from phloem.compression.entropy import Decoder, Encoder, Scale, Values
from phloem.compression.factors import FIRST_RANK, MOST_RANK, Components, fit_left, most_rank
from phloem.compression.kernels.lowrank import add_products, normalize_rows
from phloem.compression.kernels.points import energy, least_cost
from phloem.compression.planes import LEFT, RIGHT, VALUES, decode_plane, encode_plane
from phloem.errors import CorruptUpdate

MODE_BITS = 2
MODE_MODELS = 400
RANK_BITS = MOST_RANK.bit_length() - 1
RANK_MODELS = 420
SMALLEST_SIDE = 4
"""Matrices with a shorter side are not worth factors."""

FACTOR_NOISE = 1 / 16
"""Squared error of a coded factor value in squared steps, for the guess of the rank."""

CHEAPEST_VALUE_BITS = 1.5
"""At least so much costs a value that does not become zero: a lower bound that spares trying plain values."""


class Mode(IntEnum):
    """What follows in the stream for a tensor."""

    ZERO = 0
    PLANE = 1
    FACTORS = 2
    FACTORS_AND_PLANE = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode that was written, its rank where it has factors, its error in squared steps, and its cost."""

    mode: Mode
    rank: int
    error: float
    cost: float


def as_matrix(tensor: Values) -> Values:
    """A tensor as rows: its first axis against all others, a vector as one row."""
    rows = tensor.shape[0] if tensor.ndim > 1 else 1
    return np.ascontiguousarray(tensor).reshape(rows, -1)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape of `as_matrix`."""
    rows = shape[0] if len(shape) > 1 else 1
    return rows, math.prod(shape) // rows


def has_factors(shape: tuple[int, int]) -> bool:
    """Whether factors are among the modes of a matrix."""
    return min(shape) >= SMALLEST_SIDE


def encode_tensor(components: Components, encoder: Encoder, scale: Scale, near: Choice | None) -> Choice:
    """Write a tensor in the best mode, or, with what was best nearby, in that one unless zeros are better."""
    trial = _Trial(components, encoder, scale)
    trial.write_zeros()
    mode = near.mode if near and near.mode is not Mode.ZERO else None
    if mode is not Mode.PLANE and has_factors(components.matrix.shape):
        trial.write_factors(wanted_rank(components, scale), mode)
    if mode is Mode.PLANE or (mode is None and trial.plane_may_win()):
        trial.write_plane()
    return trial.settle()


def encode_again(components: Components, encoder: Encoder, scale: Scale, chosen: Choice) -> Choice:
    """Write a tensor exactly as it was at another step: then its size moves smoothly with the step."""
    # Rows that were dense should not become sparse on the way, for then the size would jump too.
    trial = _Trial(components, encoder, replace(scale, dense=scale.dense / 2))
    if chosen.mode is Mode.ZERO:
        trial.write_zeros()
    elif chosen.mode is Mode.PLANE:
        trial.write_plane()
    else:
        trial.write_factors(chosen.rank, chosen.mode)
    return trial.settle()


class _Trial:
    """The modes tried so far for one tensor, all from one place in the stream."""

    def __init__(self, components: Components, encoder: Encoder, scale: Scale) -> None:
        self._components = components
        self._matrix = components.matrix
        self._encoder = encoder
        self._scale = scale
        self._start = encoder.mark()
        self._bits = encoder.bits
        self._best = Choice(Mode.ZERO, 0, math.inf, math.inf)
        self._end = self._start

    def settle(self) -> Choice:
        """Leave the encoder behind the best mode."""
        self._encoder.back(self._end)
        return self._best

    def write_zeros(self) -> None:
        self._begin(Mode.ZERO)
        self._judge(Mode.ZERO, 0, self._components.energy * self._scale.inverse**2)

    def write_plane(self) -> None:
        self._begin(Mode.PLANE)
        plane = encode_plane(self._matrix, self._encoder, self._scale, VALUES)
        self._judge(Mode.PLANE, 0, plane.error)

    def write_factors(self, rank: int, mode: Mode | None) -> None:
        """Write so many components, and what they leave, if that is not `mode` and may be worth it."""
        if rank == 0:
            return
        self._begin(Mode.FACTORS)
        rest = self._matrix - _encode_factors(self._components, rank, self._encoder, self._scale)
        if mode is not Mode.FACTORS_AND_PLANE:
            self._judge(Mode.FACTORS, rank, energy(rest) * self._scale.inverse**2)
        if mode is Mode.FACTORS or (mode is None and not _may_gain(rest, self._scale)):
            return
        self._begin(Mode.FACTORS_AND_PLANE)
        _encode_factors(self._components, rank, self._encoder, self._scale)
        plane = encode_plane(rest, self._encoder, self._scale, VALUES)
        self._judge(Mode.FACTORS_AND_PLANE, rank, plane.error)

    def plane_may_win(self) -> bool:
        """Whether even the least that plain values could cost is less than what the best mode costs."""
        scale = self._scale
        bits = CHEAPEST_VALUE_BITS * scale.price
        least = least_cost(self._matrix, scale.inverse, 0.5 + scale.price, bits)
        return least < self._best.cost

    def _begin(self, mode: Mode) -> None:
        self._encoder.back(self._start)
        self._encoder.number(MODE_MODELS, MODE_BITS, mode)

    def _judge(self, mode: Mode, rank: int, error: float) -> None:
        cost = error + self._scale.price * (self._encoder.bits - self._bits)
        if cost < self._best.cost:
            self._best = Choice(mode, rank, error, cost)
            self._end = self._encoder.mark(self._start)


def decode_tensor(decoder: Decoder, shape: tuple[int, int], step: float) -> Values:
    """Read a tensor as a matrix.

    Raises:
        CorruptUpdate: no encoder writes this.
    """
    mode = Mode(decoder.number(MODE_MODELS, MODE_BITS))
    if mode is Mode.PLANE:
        return decode_plane(decoder, shape, step, VALUES)
    out = np.zeros(shape, np.float32)
    if mode is Mode.ZERO:
        return out
    rank = decoder.number(RANK_MODELS, RANK_BITS) + 1
    most = most_rank(*shape)
    if not has_factors(shape) or rank > most:
        raise CorruptUpdate(f"A matrix {shape} should have at most {most} factors. Found {rank}.")
    right = decode_plane(decoder, (rank, shape[1]), step, RIGHT)
    normalize_rows(right)
    left = decode_plane(decoder, (rank, shape[0]), step, LEFT)
    if mode is Mode.FACTORS_AND_PLANE:
        rest = decode_plane(decoder, shape, step, VALUES)
        add_products(left, right, out)
        return np.add(out, rest)
    add_products(left, right, out)
    return out


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


def _encode_factors(components: Components, rank: int, encoder: Encoder, scale: Scale) -> Values:
    """Write the factors; give the matrix that the decoder will make of them."""
    matrix = components.matrix
    encoder.number(RANK_MODELS, RANK_BITS, rank - 1)
    strength = components.strength[:rank, None].astype(np.float32)
    right = encode_plane(components.right[:rank] * strength, encoder, scale, RIGHT).values
    normalize_rows(right)
    used = right.any(axis=1)
    left = np.zeros((rank, matrix.shape[0]), np.float32)
    left[used] = fit_left(matrix, right[used])
    left = encode_plane(left, encoder, scale, LEFT).values
    out = np.zeros(matrix.shape, np.float32)
    add_products(left, right, out)
    return out


def _may_gain(rest: Values, scale: Scale) -> bool:
    """Whether any value of what the factors leave would not become zero."""
    return bool(np.abs(rest).max() * scale.inverse > 0.5 + scale.price)
