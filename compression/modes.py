"""How one tensor is coded: the modes of `rdo`, and how each is decoded."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np

from phloem.compression.entropy import Decoder, Values
from phloem.compression.factors import MOST_RANK, most_rank
from phloem.compression.kernels.lowrank import add_products, normalize_rows
from phloem.compression.planes import LEFT, RIGHT, VALUES, decode_plane
from phloem.compression.rotation import unrotated
from phloem.errors import CorruptUpdate

MODE_BITS = 3
MODE_MODELS = 400
LEVEL_BITS = 32
RANK_BITS = MOST_RANK.bit_length() - 1
RANK_MODELS = 420
"""Places of the mode's and the rank's models among the side models."""

SMALLEST_SIDE = 4
"""Matrices with a shorter side are not worth factors."""


class Mode(IntEnum):
    """What follows in the stream for a tensor."""

    ZERO = 0
    PLANE = 1
    FACTORS = 2
    FACTORS_AND_PLANE = 3
    ROTATED = 4
    SIGNS = 5


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


def decode_tensor(decoder: Decoder, shape: tuple[int, int], step: float) -> Values:
    """Read a tensor as a matrix.

    Raises:
        CorruptUpdate: no encoder writes this.
    """
    number = decoder.number(MODE_MODELS, MODE_BITS)
    if number > max(Mode):
        raise CorruptUpdate(f"A mode should be in 0..{max(Mode)}. Found {number}.")
    mode = Mode(number)
    if mode is Mode.ROTATED:
        return unrotated(decode_plane(decoder, shape, step, VALUES))
    if mode is Mode.PLANE:
        return decode_plane(decoder, shape, step, VALUES)
    if mode is Mode.SIGNS:
        return decoder.signs(shape)
    if mode is Mode.ZERO:
        return np.zeros(shape, np.float32)
    rank = decoder.number(RANK_MODELS, RANK_BITS) + 1
    most = most_rank(*shape)
    if not has_factors(shape) or rank > most:
        raise CorruptUpdate(f"A matrix {shape} should have at most {most} factors. Found {rank}.")
    right = decode_plane(decoder, (rank, shape[1]), step, RIGHT)
    normalize_rows(right)
    left = decode_plane(decoder, (rank, shape[0]), step, LEFT)
    if mode is Mode.FACTORS_AND_PLANE:
        out = decode_plane(decoder, shape, step, VALUES)
    else:
        out = np.zeros(shape, np.float32)
    add_products(left, right, out)
    return out
