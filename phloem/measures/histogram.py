"""Histograms of anomaly scores: what a client tells of its scores, in a few bytes and without a sample.

256 bins, eight an octave, from 2^-16 to 2^16; the first and the last are open. A client packs the cells
that are not empty, four bytes each, so that a round of 32 samples costs 128 bytes at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phloem.errors import ProtocolError

BINS = 256
EDGES = 2.0 ** np.linspace(-16.0, 16.0, BINS - 1)
"""Between two bins; a score equal to an edge is in the bin above it."""

_CELL = np.dtype([("bin", "u1"), ("anomalous", "u1"), ("count", "<u2")])
_MOST = 0xFFFF


def count_scores(scores: ArrayLike, anomalous: ArrayLike) -> NDArray[np.int64]:
    """Return counts `(2, BINS)` of scores `(n,)`, the normal samples' first, then the anomalous ones'.

    NaN, the score of a model that diverged, falls into the highest bin.
    """
    values, marks = np.asarray(scores, np.float64), np.asarray(anomalous, np.int64)
    if values.shape != marks.shape or ((marks < 0) | (marks > 1)).any():
        raise ValueError("`anomalous` should be 0 or 1 for each score.")
    bins = np.searchsorted(EDGES, values, side="right")
    return np.bincount(marks * BINS + bins, minlength=2 * BINS).reshape(2, BINS)


def pack_counts(counts: NDArray[np.int64]) -> bytes:
    """Return the cells of counts `(2, BINS)` that are not empty, as bytes."""
    cells = []
    for kind, place in zip(*np.nonzero(counts), strict=True):
        whole, rest = divmod(int(counts[kind, place]), _MOST)
        parts = [_MOST] * whole + [rest] * (rest > 0)
        cells += [(int(place), int(kind), part) for part in parts]
    return np.array(cells, _CELL).tobytes()


def unpack_counts(data: bytes) -> NDArray[np.int64]:
    """Return counts `(2, BINS)`; whatever the bytes, nothing but an error of this project is raised.

    Raises:
        ProtocolError: these are not whole cells, or one is of a third kind.
    """
    if len(data) % _CELL.itemsize:
        raise ProtocolError(
            f"A histogram should be cells of {_CELL.itemsize} bytes. Found {len(data)} bytes."
        )
    cells = np.frombuffer(data, _CELL)
    if (cells["anomalous"] > 1).any():
        raise ProtocolError("A histogram's cells should be of normal (0) or anomalous (1) samples.")
    places = cells["anomalous"].astype(np.int64) * BINS + cells["bin"]
    found = np.zeros(2 * BINS, np.int64)
    np.add.at(found, places, cells["count"].astype(np.int64))
    return found.reshape(2, BINS)
