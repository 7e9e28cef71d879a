"""A tensor rotated as a whole, for `rdo`: values of few sizes become Gaussian ones, whose rate can be low.

Uniform quantization cannot spend a tenth of a bit on a value that is either 1 or -1; on a Gaussian one it
can. The rotation is the same for all tensors of a size, and nothing about it is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from phloem.compression import draw
from phloem.compression.kernels.hadamard import rotate, rotate_back, words_needed

Values = NDArray[np.float32]

MOST_BLOCK = 8192
SEED = np.array([0x70686C6F], np.uint32)


def rotated(matrix: Values) -> Values:
    """Rotate."""
    return _turned(matrix, rotate)


def unrotated(matrix: Values) -> Values:
    """Rotate back, bit-equal on every machine."""
    return _turned(matrix, rotate_back)


def _turned(matrix: Values, turn: Callable[[Values, int, float, NDArray[np.uint64]], None]) -> Values:
    values = matrix.flatten()
    block = min(MOST_BLOCK, 1 << (values.size.bit_length() - 1))
    turn(values, block, float(np.float32(1 / math.sqrt(block))), _words(values.size, block))
    return values.reshape(matrix.shape)


@lru_cache(maxsize=8)
def _words(size: int, block: int) -> NDArray[np.uint64]:
    return draw.numbers(SEED, words_needed(size, block))
