"""How far a network usually misses each input, so that a miss is judged by what is usual there.

A rebuilt counter that is always a little off says nothing when it is off again; a flag that normal samples
never set says much. So a sample's anomaly score is the mean of its squared misses, each over the spread of
that input: a running mean of the squares of the samples the client learned from (the Mahalanobis distance
with a diagonal covariance; P. C. Mahalanobis 1936). The spread never leaves the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FLOOR = 0.01
"""Added to every spread: an input that never missed yet is not infinitely telling."""

KEPT, SAMPLES = 0.95, 60
"""Of what is known, so much is kept after so many samples."""


def judged(squares: Floats, spread: Floats | None) -> Floats:
    """Return scores `(n,)` of squared misses `(n, inputs)`; their plain mean where nothing is known yet."""
    if spread is None:
        return np.asarray(squares.mean(axis=1), np.float32)
    return np.asarray((squares / (spread + np.float32(FLOOR))).mean(axis=1), np.float32)


def followed(spread: Floats | None, squares: Floats) -> Floats | None:
    """Return the spread after these samples; a sample whose misses are not finite teaches nothing."""
    told = squares[np.isfinite(squares).all(axis=1)]
    if not len(told):
        return spread
    mean = np.asarray(told.mean(axis=0, dtype=np.float64), np.float32)
    if spread is None:
        return mean
    kept = np.float32(KEPT ** (len(told) / SAMPLES))
    return np.asarray(kept * spread + (1 - kept) * mean, np.float32)
