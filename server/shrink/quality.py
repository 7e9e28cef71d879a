"""How well logits predict: accuracy over all and by class, agreement with another model, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of the calibration error: as in Guo et al. 2017, "On calibration of modern neural networks"."""


@dataclass(frozen=True)
class Quality:
    """On labelled samples, all in 0..1; a class without samples has no accuracy.

    `ece` is the expected calibration error: how far confidence is from accuracy, the mean over 15 equally
    wide bins of confidence, weighted by their samples. `loss` is the mean cross-entropy in nats.
    """

    samples: int
    accuracy: float
    loss: float
    ece: float
    by_class: tuple[float | None, ...]


def quality(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Judge logits `(n, classes)` by labels `(n,)`, one sample at least."""
    chances = softmax(logits)
    chosen = logits.argmax(1)
    right = chosen == labels
    by_class = tuple(
        float(right[labels == one].mean()) if (labels == one).any() else None
        for one in range(logits.shape[1])
    )
    likelihood = np.maximum(chances[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return Quality(
        samples=len(labels),
        accuracy=float(right.mean()),
        loss=float(-np.log(likelihood).mean()),
        ece=calibration_error(chances.max(1), right),
        by_class=by_class,
    )


def agreement(logits: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Return in which share of the rows both choose the same class."""
    return float((logits.argmax(1) == others.argmax(1)).mean())


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return sum over bins of share x |mean confidence - accuracy|; 0 where confidence is what it says."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(
        sum(
            abs(confidence[inside].sum() - right[inside].sum()) / len(right)
            for inside in (bins == one for one in range(BINS))
            if inside.any()
        )
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax along the last axis, in float64."""
    scaled = logits.astype(np.float64)
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
