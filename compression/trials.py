"""The choice of a mode for one tensor, by trying.

Each mode that could win is written from the same state of the coder, and that with the smallest squared
error + price x bits stays. One price for all tensors is what gives each the rate it deserves. In a survey
only some rows of a large plane are written, and count for all; what is sent is written whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from phloem.compression.entropy import Encoder, Mark, Scale, StreamFull, Values
from phloem.compression.factors import Components, fit_left, sampling
from phloem.compression.kernels.lowrank import add_products, normalize_rows
from phloem.compression.kernels.points import energy, largest_size, least_cost
from phloem.compression.modes import (
    LEVEL_BITS,
    MODE_BITS,
    MODE_MODELS,
    RANK_BITS,
    RANK_MODELS,
    Mode,
    has_factors,
)
from phloem.compression.planes import LEFT, RIGHT, VALUES, encode_plane
from phloem.compression.rank import wanted_rank

FEWEST_COLUMNS = 512
"""Of longer right factors a survey takes as many columns, or up to twice as many."""

SMALLEST_ROTATED = 64
LIGHT_TAILS = 1.5
"""Mean square over squared mean magnitude; of Gaussian values 1.57, of equal magnitudes 1."""

GAUSSIAN_LOSS = 0.1
"""Bits that coding loses against the bound on Gaussian values."""

CHEAPEST_VALUE_BITS = 1.0
"""At least so much costs a value that does not become zero: a lower bound that spares trying plain values."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode, with its rank; its error in squared steps, and its bits."""

    mode: Mode
    rank: int
    error: float
    bits: float


NONE = Choice(Mode.ZERO, 0, math.inf, math.inf)


def survey_tensor(components: Components, encoder: Encoder, scale: Scale, factors: bool) -> Choice:
    """Find the best mode, by samples; without `factors` only among those that code values as they are."""
    trial = _Trial(components, encoder, scale, sampled=True)
    trial.write_zeros()
    trial.write_signs()
    if factors and has_factors(components.matrix.shape):
        trial.survey_factors(wanted_rank(components, scale))
    if trial.plane_may_win():
        trial.write_plane()
    if trial.rotated_may_win():
        trial.write_rotated()
    return trial.settle()


def encode_tensor(components: Components, encoder: Encoder, scale: Scale, chosen: Choice) -> Choice:
    """Write a tensor in the mode that was chosen: then its size moves smoothly with the step."""
    trial = _Trial(components, encoder, scale, sampled=False)
    trial.write_like(chosen)
    return trial.settle()


class _Trial:
    """The modes tried so far for one tensor, all from one place in the stream."""

    def __init__(self, components: Components, encoder: Encoder, scale: Scale, sampled: bool) -> None:
        self._components = components
        self._encoder = encoder
        self._scale = scale
        self._sampled = sampled
        self._start = encoder.mark() if sampled else None
        self._end: Mark | None = None
        self._here = False
        self._clean = True
        self._bits = encoder.bits
        self._best = NONE
        self._given_up = math.inf

    def settle(self) -> Choice:
        """Leave the encoder behind the best mode.

        Raises:
            StreamFull: a mode for which there was no room could have been better.
        """
        if self._cost(self._best) > self._given_up:
            raise StreamFull
        if self._end and not self._here:
            self._encoder.back(self._end)
        return self._best

    def write_like(self, chosen: Choice) -> None:
        """Write in the mode of another choice."""
        if chosen.mode is Mode.ZERO:
            self.write_zeros()
        elif chosen.mode is Mode.SIGNS:
            self.write_signs()
        elif chosen.mode is Mode.PLANE:
            self.write_plane()
        elif chosen.mode is Mode.ROTATED:
            self.write_rotated()
        else:
            self.write_factors(chosen.rank, chosen.mode)

    def write_zeros(self) -> None:
        self._begin(Mode.ZERO)
        self._judge(Mode.ZERO, 0, self._components.energy * self._scale.inverse**2)

    def write_signs(self) -> None:
        """Write nothing but signs, and the mean magnitude; what they cost is known before."""
        components = self._components
        count = components.matrix.size
        error = max(components.energy - count * components.mean**2, 0.0) * self._scale.inverse**2
        bits = count + LEVEL_BITS + MODE_BITS
        if self._sampled:
            if error + self._scale.price * bits >= self._cost(self._best):
                return
            self._begin(Mode.SIGNS)
        else:
            self._begin(Mode.SIGNS)
            self._encoder.signs(components.matrix, math.ldexp(components.mean, components.shift))
        self._judge(Mode.SIGNS, 0, error, bits)

    def write_plane(self) -> None:
        self._write_values(Mode.PLANE, self._components.matrix)

    def write_rotated(self) -> None:
        self._write_values(Mode.ROTATED, self._components.rotated)

    def write_factors(self, rank: int, mode: Mode) -> None:
        """Write so many components, and, if that is the mode, what they leave."""
        matrix, scale = self._components.matrix, self._scale
        self._begin(mode)
        left, right = _write_factors(self._components, rank, self._encoder, scale)
        rest = _rest(matrix, left, right, 1)
        if mode is Mode.FACTORS:
            self._judge(mode, rank, energy(rest) * scale.inverse**2)
        else:
            self._judge(mode, rank, encode_plane(rest, self._encoder, scale, VALUES).error)

    def survey_factors(self, rank: int) -> None:
        """Guess from samples what so many components take, and what they leave, if that may be worth it."""
        if rank == 0:
            return
        components, scale, encoder = self._components, self._scale, self._encoder
        try:
            self._begin(Mode.FACTORS)
            encoder.number(RANK_MODELS, RANK_BITS, rank - 1)
            strength = components.strength[:rank, None].astype(np.float32)
            every = max(components.right.shape[1] // FEWEST_COLUMNS, 1)
            sample = np.ascontiguousarray(components.right[:rank, ::every]) * strength
            share = components.right.shape[1] / sample.shape[1]
            before = encoder.bits
            right = encode_plane(sample, encoder, scale, RIGHT)
            more = (share - 1) * (encoder.bits - before)
            left = encode_plane(components.left[:rank], encoder, scale, LEFT)
            error = share * right.error + left.error  # what factors err by, their matrix errs by
            bits = encoder.bits - self._bits + more
            rest = _rest(components.matrix, components.left[:rank], components.right[:rank], self._every())
            share = len(components.matrix) / len(rest)
            self._judge(Mode.FACTORS, rank, error + share * energy(rest) * scale.inverse**2, bits)
            if not _may_gain(rest, scale):
                return
            self._leave()
            before = encoder.bits
            plane = encode_plane(rest, encoder, scale, VALUES)
            more = share * (encoder.bits - before)
            left_over = error * max(1 - more / components.matrix.size, 0.0)  # a dense plane codes it too
            self._judge(Mode.FACTORS_AND_PLANE, rank, share * plane.error + left_over, bits + more)
        except StreamFull:
            self._give_up()

    def plane_may_win(self) -> bool:
        """Whether even the least that plain values could cost is less than what the best mode costs."""
        scale = self._scale
        bits = CHEAPEST_VALUE_BITS * scale.price
        least = least_cost(self._components.matrix, scale.inverse, 0.5 + scale.price, bits)
        return least < self._cost(self._best)

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
        return count * (error + scale.price * bits) < self._cost(self._best)

    def _write_values(self, mode: Mode, values: Values) -> None:
        every = self._every()
        rows = np.ascontiguousarray(values[::every])
        share = len(values) / len(rows)
        try:
            self._begin(mode)
            even = mode is Mode.PLANE and self._components.even
            scale = replace(self._scale, dense=math.inf) if even else self._scale
            plane = encode_plane(rows, self._encoder, scale, VALUES)
            self._judge(mode, 0, share * plane.error, share * (self._encoder.bits - self._bits))
        except StreamFull:
            self._give_up()

    def _give_up(self) -> None:
        """Remember that a mode which fills all room would cost at least this."""
        self._given_up = min(self._given_up, self._scale.price * (self._encoder.room_bits - self._bits))

    def _every(self) -> int:
        return sampling(self._components.matrix) if self._sampled else 1

    def _begin(self, mode: Mode) -> None:
        if self._start and not self._clean:
            self._leave()
            self._encoder.back(self._start)
        self._clean = False
        self._encoder.number(MODE_MODELS, MODE_BITS, mode)

    def _leave(self) -> None:
        """Remember the place behind the best mode, before the encoder goes on from there."""
        if self._here:
            self._end = self._encoder.mark(self._start)
            self._here = False

    def _judge(self, mode: Mode, rank: int, error: float, bits: float | None = None) -> None:
        if bits is None:
            bits = self._encoder.bits - self._bits
        choice = Choice(mode, rank, error, bits)
        if self._start is None or self._cost(choice) < self._cost(self._best):
            self._best, self._here, self._end = choice, True, None

    def _cost(self, choice: Choice) -> float:
        return choice.error + self._scale.price * choice.bits


def _write_factors(
    components: Components, rank: int, encoder: Encoder, scale: Scale
) -> tuple[Values, Values]:
    """Write the factors, the left ones to fit the right ones as decoded; give what the decoder will see."""
    matrix = components.matrix
    encoder.number(RANK_MODELS, RANK_BITS, rank - 1)
    components.grow(rank)
    strength = components.strength[:rank, None].astype(np.float32)
    right = encode_plane(components.right[:rank] * strength, encoder, scale, RIGHT, keep=True).values
    assert right is not None
    normalize_rows(right)
    used = right.any(axis=1)
    left = np.zeros((rank, matrix.shape[0]), np.float32)
    left[used] = fit_left(matrix, right[used])
    seen = encode_plane(left, encoder, scale, LEFT, keep=True).values
    assert seen is not None
    return seen, right


def _rest(matrix: Values, left: Values, right: Values, every: int) -> Values:
    """What the factors leave of some rows."""
    rest = np.zeros((-(-len(matrix) // every), matrix.shape[1]), np.float32)
    add_products(np.ascontiguousarray(left[:, ::every]), right, rest)
    return np.subtract(matrix[::every], rest, out=rest)


def _may_gain(rest: Values, scale: Scale) -> bool:
    """Whether any value of what the factors leave would not become zero."""
    return largest_size(rest) * scale.inverse > 0.5 + scale.price
