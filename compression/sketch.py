"""The first guess of a step: what an update would cost at every step, from how large its values are.

No encoding: magnitudes are counted by half octaves, each is charged what a value beside its like would
cost, and factors are charged as if they were Gaussian. Right within a third or so, for a few microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phloem.compression.factors import FIRST_RANK, Components, sampling
from phloem.compression.kernels.points import count_sizes
from phloem.compression.modes import has_factors

STEPS = 60
"""So many half octaves below the largest value lie the steps that are looked at."""

BINS = 512
"""Half octaves of a float32's range."""

REACH = 60
"""So many half octaves from the step everything is zero, or costs a bit more an octave."""

PRICE = 0.085

Table = NDArray[np.float64]


def _tables() -> tuple[Table, Table]:
    """Bits, and error in squared steps, of a value by its size in half octaves around the step."""
    size = 2.0 ** ((np.arange(-REACH, REACH + 1) + 0.5) / 2)
    square = size * size
    bits = 0.5 * np.log2(1 + 60 * square * square / (square + 0.5))
    return bits, np.minimum(square, 0.09)


BITS, ERRORS = _tables()


def first_step(
    components: Sequence[Components], factors: bool, bits: float | None, error: float | None
) -> tuple[float, float]:
    """The step at which all tensors should take so many bits, or have so much squared error.

    With it comes the slope there, in octaves of bits or error for one of the step.
    """
    if factors:
        for one in components:
            if has_factors(one.matrix.shape):
                one.grow(FIRST_RANK)
    largest = max(one.energy for one in components) ** 0.5
    steps = int(_bins(np.array([largest]))[0]) + 8 - np.arange(STEPS)
    taken, errors = costs(components, steps[steps >= 0])
    # From the largest step on the first that has too many bits, or little enough error.
    reached = taken > bits if bits is not None else errors < (error or 0.0)
    place = int(np.argmax(reached)) if reached.any() else len(taken) - 1
    measure = np.log2(np.maximum(taken if bits is not None else errors, 1e-300))
    slope = float(measure[max(place - 1, 0)] - measure[min(place + 1, len(taken) - 1)])
    return float(2.0 ** (int(steps[place]) / 2 - 127)), slope


def costs(components: Sequence[Components], steps: NDArray[np.int64]) -> tuple[Table, Table]:
    """The bits, and the squared errors, of all tensors at each of the steps, which are numbers of bins."""
    bits, errors = np.zeros(steps.size), np.zeros(steps.size)
    squares = 2.0 ** (steps.astype(np.float64) - 2 * 127)
    for one in components:
        best = _charged(_plain(one), steps)
        if one.strength.size:
            other = _charged(_factored(one), steps)
            better = other[1] + PRICE * other[0] < best[1] + PRICE * best[0]
            best = np.where(better, other, best)
        bits += best[0]
        errors += best[1] * squares
    return bits, errors


def _charged(counts: Table, steps: NDArray[np.int64]) -> Table:
    used = np.flatnonzero(counts)
    places = np.clip(used[None, :] - steps[:, None], -REACH, REACH) + REACH
    return np.stack([BITS[places] @ counts[used], ERRORS[places] @ counts[used]])


def _plain(one: Components) -> Table:
    counts = np.zeros(BINS, np.int64)
    every = sampling(one.matrix)
    count_sizes(one.matrix.view(np.int32), every, counts)
    counts[0] = 0
    return np.asarray(counts * (len(one.matrix) / -(-len(one.matrix) // every)), np.float64)


def _factored(one: Components) -> Table:
    m, n = one.matrix.shape
    counts = np.zeros(BINS)
    rest = max(one.energy - float(np.square(one.strength).sum()), 0.0)
    np.add.at(counts, _bins(one.strength / np.sqrt(m)), m)
    np.add.at(counts, _bins(one.strength / np.sqrt(n)), n)
    np.add.at(counts, _bins(np.array([np.sqrt(rest / (m * n))])), m * n)
    counts[0] = 0
    return counts


def _bins(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    bits = sizes.astype(np.float32)
    return (bits.view(np.uint32) >> 22).astype(np.int64)
