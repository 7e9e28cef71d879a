"""Prequential accuracy: the share of samples predicted right before they were learned from.

J. Gama, R. Sebastião, P. P. Rodrigues, "On evaluating stream learning algorithms", Machine Learning 90, 2013.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def faded(correct: ArrayLike, samples: ArrayLike, fading: float = 0.999) -> NDArray[np.float64]:
    """Return the accuracy after each batch where every sample counts `fading` times the one after it.

    `correct` and `samples` are counts a batch, shape `(n,)`. Batches of one sample give the very definition.
    Of a larger one the order of hits is not known: it counts as the mean over all orders. Law: a value lies
    between the least and the greatest accuracy of the batches so far; with `fading` 1 it is their mean.
    NaN until the first sample.
    """
    if not 0.0 < fading <= 1.0:
        raise ValueError(f"`fading` should be above 0 and at most 1. Found {fading}.")
    hits, counts = _counts(correct, samples)
    found = np.full(len(counts), np.nan)
    weighted = total = 0.0
    for i, (right, count) in enumerate(zip(hits, counts, strict=True)):
        weight = count if fading == 1.0 else (1.0 - fading**count) / (1.0 - fading)
        weighted = weighted * fading**count + (right / count * weight if count else 0.0)
        total = total * fading**count + weight
        if total > 0.0:
            found[i] = weighted / total
    return found


def windowed(correct: ArrayLike, samples: ArrayLike, window: int = 1000) -> NDArray[np.float64]:
    """Return the accuracy, after each batch, over the fewest last batches that hold `window` samples.

    All batches where they hold fewer; NaN until the first sample. Law: batches of one sample give the mean
    of the last `window` hits.
    """
    if window < 1:
        raise ValueError(f"`window` should be 1 sample or more. Found {window}.")
    hits, counts = _counts(correct, samples)
    until = np.concatenate([[0.0], np.cumsum(counts)])
    right = np.concatenate([[0.0], np.cumsum(hits)])
    # The last start that leaves a whole window, or else the first batch.
    starts = np.maximum(np.searchsorted(until, until[1:] - window, side="right") - 1, 0)
    held = until[1:] - until[starts]
    found = np.full(len(counts), np.nan)
    np.divide(right[1:] - right[starts], held, out=found, where=held > 0)
    return found


def _counts(correct: ArrayLike, samples: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hits, counts = np.asarray(correct, np.float64), np.asarray(samples, np.float64)
    if hits.shape != counts.shape or hits.ndim != 1 or (hits < 0).any() or (hits > counts).any():
        raise ValueError("`correct` should be a count in 0..samples for each batch.")
    return hits, counts
