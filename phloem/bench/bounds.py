"""Lines to read the benchmark by: what simple methods would reach if their entropy coder were perfect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.bench.vectors import Vector

RATES = (4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
ROUNDINGS = (0.5, 0.4, 0.33, 0.25)
SEARCH_ROUNDS = 20
WIDEST = 1 << 22
"""More different symbols than this are sorted, not counted in a table."""

ORDER_0, GAUSSIAN = "order-0 entropy", "Gaussian R(D)"


@dataclass(frozen=True, slots=True)
class Point:
    """A rate in bits per parameter, and a normalised squared error."""

    vector: str
    line: str
    bpp: float
    nmse: float


def lines(vector: Vector) -> Iterator[Point]:
    """Return points on both lines.

    The order-0 entropy is of all values divided by one step and rounded, with the dead zone that errs
    least, each symbol standing for its own mean; tables cost nothing. The Gaussian rate-distortion function
    is the least rate for normal values, and for no others.
    """
    values = np.concatenate([tensor.ravel() for tensor in vector.update.values()])
    for rate in RATES:
        yield Point(vector.name, ORDER_0, rate, min(_error(values, rate, up) for up in ROUNDINGS))
    for rate in RATES:
        yield Point(vector.name, GAUSSIAN, rate, 2.0 ** (-2 * rate))


def symbols(values: NDArray[np.float32], step: float, up: float) -> NDArray[np.int64]:
    """Divide by the step and round away from zero from a fraction of `1 - up` on."""
    whole = np.floor(np.abs(values) * np.float32(1 / step) + np.float32(up))
    return np.asarray(np.copysign(whole, values), np.int64)


def entropy(counts: NDArray[np.int64]) -> float:
    """Return the bits a symbol when nothing but the symbols' own frequencies is known."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _error(values: NDArray[np.float32], rate: float, up: float) -> float:
    """The normalised squared error at the step whose entropy is just below `rate`."""
    power = float(np.square(values, dtype=np.float64).sum())
    if power == 0:
        return 0.0
    magnitudes = np.abs(values)
    low, high = np.log2([float(magnitudes.mean()) * 2.0**-12, float(magnitudes.max()) * 8])
    for _ in range(SEARCH_ROUNDS):
        middle = float(low + high) / 2
        places = _places(symbols(values, 2.0**middle, up))
        low, high = (middle, high) if entropy(np.bincount(places)) > rate else (low, middle)
    places = _places(symbols(values, float(2.0**high), up))
    counts, sums = np.bincount(places), np.bincount(places, values)
    kept = float((np.square(sums) / np.maximum(counts, 1)).sum())  # what the means explain of the power
    return max(0.0, 1 - kept / power)


def _places(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the symbols from zero."""
    least, most = int(found.min()), int(found.max())
    return found - least if most - least < WIDEST else np.unique(found, return_inverse=True)[1]
