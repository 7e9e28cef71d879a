"""Standardising columns, and filling in what was not measured: fitted on the clients' rows, applied to all.

The test's rows take no part in the fit, and neither do validation and proxy: the figures that are told of
new devices would otherwise know something of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 10.0
"""Standardised values are cut at so many deviations: one broken sensor should not drown the rest."""


@dataclass(frozen=True, eq=False, slots=True)
class Scale:
    """What is subtracted and divided by, for each entry of the last axis, or for all."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    standard: bool
    impute: bool

    def apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return `x` with NaN replaced by the mean, if `impute`, and in deviations from it, if `standard`.

        What is not finite stays so, but for the NaN that is replaced.
        """
        values = np.where(np.isnan(x), self.mean, x) if self.impute and x.dtype.kind == "f" else x
        if not self.standard:
            return values.astype(np.float32)
        scaled = (values - self.mean) / self.deviation
        cut = np.where(np.isfinite(scaled), np.clip(scaled, -LARGEST, LARGEST), scaled)
        return cut.astype(np.float32)


def fit(x: NDArray[Any], *, standard: bool, impute: bool) -> Scale:
    """Return the mean and deviation of each column `(n, columns)` or channel `(n, time, channels)`.

    Only what is finite counts; a column that is constant, or has nothing finite, gets the deviation 1.
    Images, of bytes or with an axis of channels, get one mean and deviation for all their pixels.
    """
    images = x.dtype == np.uint8 or x.ndim > 3
    columns = x.reshape(-1, 1 if images else x.shape[-1]).astype(np.float64)
    finite = np.isfinite(columns)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, columns, 0).sum(axis=0) / count
    variance = np.where(finite, columns - mean, 0)
    np.square(variance, out=variance)
    deviation = np.sqrt(variance.sum(axis=0) / count)
    constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    return Scale(mean, np.where(constant, 1.0, deviation), standard, impute)
