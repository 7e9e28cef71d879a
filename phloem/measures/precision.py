"""Average precision: the area under the precision-recall curve, for anomalies that are rare.

Accuracy is no measure there: whoever calls everything normal is right on almost all samples. The curve's
area is the sum of precision times the step in recall, without interpolation: J. Davis, M. Goadrich, "The
relationship between precision-recall and ROC curves", ICML 2006.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Area:
    """An average precision known from bins: `value` as if ties shared a bin, and its sure bounds."""

    value: float
    low: float
    high: float


def average_precision(scores: ArrayLike, anomalous: ArrayLike) -> float | None:
    """Return the average precision of scores, where larger means more anomalous.

    `scores` and `anomalous` (0 or 1) have shape `(n,)`; equal scores count as one threshold. Laws: in 0..1;
    1 where every anomaly is above every normal sample; the same for every increasing map of the scores; the
    share of anomalies where all scores are equal. None without an anomaly.
    """
    values, marks = np.asarray(scores, np.float64), np.asarray(anomalous, bool)
    if values.shape != marks.shape or values.ndim != 1:
        raise ValueError("`scores` and `anomalous` should be one value a sample each.")
    _, bins = np.unique(values, return_inverse=True)
    size = int(bins.max(initial=-1)) + 1
    area = area_from_bins(np.bincount(bins[~marks], minlength=size), np.bincount(bins[marks], minlength=size))
    return None if area is None else area.value


def area_from_bins(normal: ArrayLike, anomalous: ArrayLike) -> Area | None:
    """Return the average precision of binned scores, and between what it lies whatever is in a bin.

    `normal` and `anomalous` are counts by bin, shape `(bins,)`, the highest scores last; histograms of many
    clients add. Law: `low <= exact <= high` for all scores that fall into these bins, tied or not; the bounds
    are as narrow as that allows. None without an anomaly.
    """
    negatives, positives = _falling(normal), _falling(anomalous)
    total = positives.sum()
    if negatives.shape != positives.shape or (negatives < 0).any() or (positives < 0).any():
        raise ValueError("`normal` and `anomalous` should be counts by the same bins.")
    if total == 0:
        return None
    value = low = high = 0.0
    found = false = 0
    for hits, wrong in zip(positives.tolist(), negatives.tolist(), strict=True):
        if hits:
            value += hits * (found + hits) / (found + hits + false + wrong)
            high += hits * (found + hits) / (found + hits + false)  # all anomalies first, as one threshold
            ranks = found + np.arange(1, hits + 1)  # all normal samples first, then one anomaly after another
            low += float((ranks / (ranks + false + wrong)).sum())
        found, false = found + hits, false + wrong
    return Area(float(value / total), float(low / total), float(high / total))


def _falling(counts: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(counts, np.int64)[::-1]
