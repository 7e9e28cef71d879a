"""Kappa: how much better than a predictor that does not look at the sample.

J. Cohen, "A coefficient of agreement for nominal scales", 1960; A. Bifet et al., "Pitfalls in benchmarking
data stream classification", ECML PKDD 2013, for the comparison with the no-change predictor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def cohens_kappa(correct: int, labels: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return Cohen's kappa from how many were right and how often each class was seen and predicted.

    `labels` and `predicted` are counts by class, shape `(classes,)`, of the same samples: a confusion
    matrix's margins are enough. Laws: 1 where all is right and two classes were seen, 0 for a predictor
    that draws from its own margin, at most 1, the same for every numbering of the classes. None where
    chance is always right, or there are no samples.
    """
    seen, said = np.asarray(labels, np.float64), np.asarray(predicted, np.float64)
    samples = seen.sum()
    if seen.shape != said.shape or samples != said.sum() or not 0 <= correct <= samples:
        raise ValueError("`labels` and `predicted` should count the same samples by the same classes.")
    if samples == 0:
        return None
    return skill(correct / samples, float(seen @ said) / samples**2)


def skill(accuracy: float, baseline: float) -> float | None:
    """Return the share of a baseline's errors that is avoided: kappa-M and kappa-temporal are this.

    Against the majority class it is kappa-M, against the no-change predictor kappa-temporal. 1 is perfect,
    0 as good as the baseline, negative is worse. None where the baseline makes no errors.
    """
    return None if baseline >= 1.0 else (accuracy - baseline) / (1.0 - baseline)
