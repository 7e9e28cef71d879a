"""The choice of a mode for one tensor, by trying.

Each mode that could win is really written, from the same state of the coder, and the one with the smallest
squared error + price x bits stays. One price for all tensors is what gives each the rate it deserves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from phloem.compression.entropy import Encoder, Scale, StreamFull, Values
from phloem.compression.factors import FIRST_RANK, Components, fit_left
from phloem.compression.kernels.lowrank import add_products, normalize_rows
from phloem.compression.kernels.points import energy, least_cost
from phloem.compression.modes import MODE_BITS, MODE_MODELS, RANK_BITS, RANK_MODELS, Mode, has_factors
from phloem.compression.planes import LEFT, RIGHT, VALUES, encode_plane

FACTOR_NOISE = 1 / 16
"""Squared error of a coded factor value in squared steps, for the guess of the rank."""

SMALLEST_ROTATED = 64
LIGHT_TAILS = 1.5
"""Mean square over squared mean magnitude; of Gaussian values 1.57, of equal magnitudes 1."""

GAUSSIAN_LOSS = 0.1
"""Bits that coding loses against the bound on Gaussian values."""

CHEAPEST_VALUE_BITS = 1.0
"""At least so much costs a value that does not become zero: a lower bound that spares trying plain values."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode that was written, with its rank and `Scale.dense`, its error in squared steps, and its cost."""

    mode: Mode
    rank: int
    dense: float
    error: float
    cost: float


def encode_tensor(components: Components, encoder: Encoder, scale: Scale, near: Choice | None) -> Choice:
    """Write a tensor in the best mode, or, with what was best nearby, in that one unless zeros are better."""
    trial = _Trial(components, encoder, scale)
    trial.write_zeros()
    if near and near.mode is not Mode.ZERO:
        rank = wanted_rank(components, scale) if near.rank else 0
        trial.write_like(near, rank, near.dense)
        return trial.settle()
    if has_factors(components.matrix.shape):
        trial.write_factors(wanted_rank(components, scale), None)
    if trial.plane_may_win():
        trial.write_plane(scale.dense)
        trial.write_plane(math.inf)
    if trial.rotated_may_win():
        trial.write_rotated()
    return trial.settle()


def encode_again(components: Components, encoder: Encoder, scale: Scale, chosen: Choice) -> Choice:
    """Write a tensor exactly as it was at another step: then its size moves smoothly with the step."""
    # Rows that were dense should not become sparse on the way, for then the size would jump too.
    trial = _Trial(components, encoder, replace(scale, dense=scale.dense / 2))
    trial.write_like(chosen, chosen.rank, chosen.dense / 2)
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
        self._best = Choice(Mode.ZERO, 0, math.inf, math.inf, math.inf)
        self._end = self._start
        self._given_up = math.inf

    def settle(self) -> Choice:
        """Leave the encoder behind the best mode.

        Raises:
            StreamFull: a mode for which there was no room could have been better.
        """
        if self._best.cost > self._given_up:
            raise StreamFull
        self._encoder.back(self._end)
        return self._best

    def write_like(self, chosen: Choice, rank: int, dense: float) -> None:
        """Write in the mode of another choice."""
        if chosen.mode is Mode.ZERO:
            self.write_zeros()
        elif chosen.mode is Mode.PLANE:
            self.write_plane(dense)
        elif chosen.mode is Mode.ROTATED:
            self.write_rotated()
        else:
            self.write_factors(rank, chosen.mode)

    def write_zeros(self) -> None:
        self._begin(Mode.ZERO)
        self._judge(Mode.ZERO, 0, self._components.energy * self._scale.inverse**2)

    def write_plane(self, dense: float) -> None:
        """Write plain values, dependently quantized if their mean is `dense` steps or more."""
        if self._scale.inverse * self._components.mean < dense < math.inf:
            dense = math.inf
        if self._best.mode is Mode.PLANE and self._best.dense == dense:
            return
        self._write_values(Mode.PLANE, self._matrix, dense)

    def write_rotated(self) -> None:
        """Write the values of the rotated tensor."""
        self._write_values(Mode.ROTATED, self._components.rotated, self._scale.dense)

    def write_factors(self, rank: int, mode: Mode | None) -> None:
        """Write so many components, and what they leave, if that is not `mode` and may be worth it."""
        if rank == 0:
            return
        try:
            self._begin(Mode.FACTORS)
            rest = _encode_factors(self._components, rank, self._encoder, self._scale)
            np.subtract(self._matrix, rest, out=rest)
            if mode is not Mode.FACTORS_AND_PLANE:
                self._judge(Mode.FACTORS, rank, energy(rest) * self._scale.inverse**2)
            if mode is Mode.FACTORS or (mode is None and not _may_gain(rest, self._scale)):
                return
            self._begin(Mode.FACTORS_AND_PLANE)
            _write_factors(self._components, rank, self._encoder, self._scale)
            plane = encode_plane(rest, self._encoder, self._scale, VALUES)
            self._judge(Mode.FACTORS_AND_PLANE, rank, plane.error)
        except StreamFull:
            self._give_up()

    def plane_may_win(self) -> bool:
        """Whether even the least that plain values could cost is less than what the best mode costs."""
        scale = self._scale
        bits = CHEAPEST_VALUE_BITS * scale.price
        least = least_cost(self._matrix, scale.inverse, 0.5 + scale.price, bits)
        return least < self._best.cost

    def rotated_may_win(self) -> bool:
        """Whether Gaussian values of the same mean square could cost less than the best mode does.

        Never where magnitudes vary as much as Gaussian ones do: rotation would only spread what is sparse.
        """
        components, scale = self._components, self._scale
        count = components.matrix.size
        variance = components.energy / count
        if count < SMALLEST_ROTATED or variance == 0 or variance > LIGHT_TAILS * components.mean**2:
            return False
        square = variance * scale.inverse**2
        error = min(scale.price / (2 * math.log(2)), square)
        bits = 0.5 * math.log2(square / error) + (GAUSSIAN_LOSS if error < square else 0.0)
        return count * (error + scale.price * bits) < self._best.cost

    def _write_values(self, mode: Mode, values: Values, dense: float) -> None:
        try:
            self._begin(mode)
            plane = encode_plane(values, self._encoder, replace(self._scale, dense=dense), VALUES)
            self._judge(mode, 0, plane.error, dense)
        except StreamFull:
            self._give_up()

    def _give_up(self) -> None:
        """Remember that a mode which fills all room would cost at least this."""
        room = self._encoder.room_bits - self._bits
        self._given_up = min(self._given_up, self._scale.price * room)

    def _begin(self, mode: Mode) -> None:
        self._encoder.back(self._start)
        self._encoder.number(MODE_MODELS, MODE_BITS, mode)

    def _judge(self, mode: Mode, rank: int, error: float, dense: float = math.inf) -> None:
        cost = error + self._scale.price * (self._encoder.bits - self._bits)
        if cost < self._best.cost:
            self._best = Choice(mode, rank, dense, error, cost)
            self._end = self._encoder.mark(self._start)


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
    left, right = _write_factors(components, rank, encoder, scale)
    out = np.zeros(components.matrix.shape, np.float32)
    add_products(left, right, out)
    return out


def _write_factors(
    components: Components, rank: int, encoder: Encoder, scale: Scale
) -> tuple[Values, Values]:
    matrix = components.matrix
    encoder.number(RANK_MODELS, RANK_BITS, rank - 1)
    strength = components.strength[:rank, None].astype(np.float32)
    right = encode_plane(components.right[:rank] * strength, encoder, scale, RIGHT).values
    normalize_rows(right)
    used = right.any(axis=1)
    left = np.zeros((rank, matrix.shape[0]), np.float32)
    left[used] = fit_left(matrix, right[used])
    return encode_plane(left, encoder, scale, LEFT).values, right


def _may_gain(rest: Values, scale: Scale) -> bool:
    """Whether any value of what the factors leave would not become zero."""
    return bool(np.abs(rest).max() * scale.inverse > 0.5 + scale.price)
