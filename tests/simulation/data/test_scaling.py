"""Scaling: fitted on what it is given, and NaN stays NaN unless it is to be filled in."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.simulation.data.scaling import LARGEST, fit


def rows(count: int = 500) -> NDArray[np.float64]:
    """Three columns of very different scale, the last one constant."""
    rng = np.random.default_rng(1)
    return np.stack([rng.normal(1000, 200, count), rng.normal(0, 0.01, count), np.full(count, 7.0)], axis=1)


def test_columns_get_mean_0_and_deviation_1_and_a_constant_one_is_0() -> None:
    """Scales that differ a hundredthousandfold become one."""
    scaled = fit(rows(), standard=True, impute=False).apply(rows())
    assert scaled.dtype == np.float32
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-4)


def test_channels_of_windows_share_their_scale_over_time() -> None:
    """A window's shape must survive: each channel has one mean, not one for each moment."""
    windows = np.random.default_rng(1).normal([5.0, -1.0], [2.0, 0.1], (50, 20, 2))
    scale = fit(windows, standard=True, impute=False)
    assert scale.mean.shape == (2,)
    assert np.allclose(scale.apply(windows).std(axis=(0, 1)), 1, atol=1e-4)


def test_pixels_share_one_scale() -> None:
    """A picture's columns are not features."""
    assert fit(np.zeros((3, 4, 5), np.uint8), standard=True, impute=False).mean.shape == (1,)


def test_what_was_not_measured_is_filled_with_the_mean_of_the_fitted_rows() -> None:
    """NaN becomes the mean, whether or not columns are scaled."""
    x = rows()
    x[::7, 1] = np.nan
    filled = fit(x, standard=False, impute=True).apply(x)
    assert filled[0, 1] == pytest.approx(np.nanmean(x[:, 1]), rel=1e-6)
    assert fit(x, standard=True, impute=True).apply(x)[0, 1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("standard", [False, True])
def test_nothing_bad_is_made_good_unasked(standard: bool) -> None:
    """NaN without imputing, and infinity always, are still there to be refused or dropped."""
    x = rows(10)
    x[2, 0], x[3, 1] = np.nan, np.inf
    scaled = fit(x, standard=standard, impute=False).apply(x)
    assert np.flatnonzero(~np.isfinite(scaled).all(axis=1)).tolist() == [2, 3]
    filled = fit(x, standard=standard, impute=True).apply(x)
    assert np.flatnonzero(~np.isfinite(filled).all(axis=1)).tolist() == [3]


def test_a_broken_sensor_is_cut_off() -> None:
    """One reading of 1e9 among new rows should not drown what else there is."""
    assert fit(rows(), standard=True, impute=False).apply(np.full((1, 3), 1e9)).max() == LARGEST
