"""Random rotations: signs that both sides draw alike, then Walsh and Hadamard's transform, block by block.

Twice: after one transform a value that outweighs all others is still recognised, for it then makes all
magnitudes equal. Additions and subtractions in a fixed order, so the result is bit-equal on every machine.
A last block that would be short overlaps the one before: blocks are powers of two long, nothing is padded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, kernel

Values = NDArray[np.float32]
Words = NDArray[np.uint64]

WORD = 64
TURNS = 2


def words_needed(count: int, block: int) -> int:
    """How many random words rotate so many values."""
    return TURNS * -(-count // block) * -(-block // WORD)


@kernel
def flip(values: Values, start: int, block: int, words: Words, first: int) -> None:
    """Negate where the block's words have a one."""
    for k in range(block):
        if (words[at(first + (k >> 6))] >> np.uint64(k & 63)) & np.uint64(1):
            values[at(start + k)] = -values[at(start + k)]


@kernel
def transform(values: Values, start: int, block: int, factor: float) -> None:
    """Transform a block by a matrix of `factor` and `-factor`, where that is one over the length's root."""
    for k in range(start, start + block):
        values[at(k)] *= factor
    half = 1
    while half < block:
        for left in range(start, start + block, 2 * half):
            for k in range(left, left + half):
                a, b = values[at(k)], values[at(k + half)]
                values[at(k)] = a + b
                values[at(k + half)] = a - b
        half *= 2


@kernel
def rotate(values: Values, block: int, factor: float, words: Words) -> None:
    """Rotate in place, blocks from the first to the last."""
    each = (block + WORD - 1) // WORD
    blocks = (values.size + block - 1) // block
    for i in range(blocks):
        start = min(i * block, values.size - block)
        for turn in range(TURNS):
            flip(values, start, block, words, (TURNS * i + turn) * each)
            transform(values, start, block, factor)


@kernel
def rotate_back(values: Values, block: int, factor: float, words: Words) -> None:
    """Invert `rotate`."""
    each = (block + WORD - 1) // WORD
    blocks = (values.size + block - 1) // block
    for back in range(1, blocks + 1):
        i = blocks - back
        start = min(i * block, values.size - block)
        for turn in range(TURNS):
            transform(values, start, block, factor)
            flip(values, start, block, words, (TURNS * i + TURNS - 1 - turn) * each)
