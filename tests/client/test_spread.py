"""The spread of misses: what is unusual for an input counts, what it always does no longer."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.client.spread import FLOOR, KEPT, SAMPLES, followed, judged
from phloem.measures.precision import average_precision


def test_without_a_spread_a_score_is_the_mean_square() -> None:
    """Protects the first round, in which nothing is known."""
    np.testing.assert_allclose(judged(np.array([[1, 3], [0, 0]], np.float32), None), [2, 0])


def test_a_noisy_input_does_not_hide_a_quiet_one() -> None:
    """Protects the detector: anomalies in an input that is rebuilt well are found."""
    rng = np.random.default_rng(1)
    noisy, quiet = rng.normal(size=4000) ** 2, 0.01 * rng.normal(size=4000) ** 2
    anomalous = rng.random(4000) < 0.05
    quiet[anomalous] += 0.5
    squares = np.stack([noisy, quiet], axis=1).astype(np.float32)
    spread = followed(None, squares[~anomalous])
    plain = average_precision(judged(squares, None), anomalous)
    scaled = average_precision(judged(squares, spread), anomalous)
    assert plain is not None
    assert scaled is not None
    assert plain < 0.3
    assert scaled > 0.9


def test_the_spread_follows_the_samples() -> None:
    """Protects drift: what is usual fades by `KEPT` in `SAMPLES` samples, however they are dealt out."""
    old, new = np.full(3, 4.0, np.float32), np.ones((SAMPLES, 3), np.float32)
    once = followed(old, new)
    halves = followed(followed(old, new[: SAMPLES // 2]), new[SAMPLES // 2 :])
    assert once is not None
    assert halves is not None
    np.testing.assert_allclose(once, 4 * KEPT + (1 - KEPT), rtol=1e-6)
    np.testing.assert_allclose(once, halves, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_diverged_teaches_nothing(bad: float) -> None:
    """Protects the state: NaN in a running mean would stay for ever."""
    squares = np.array([[1, 1], [bad, 1]], np.float32)
    np.testing.assert_array_equal(followed(None, squares), [1, 1])
    assert followed(None, squares[1:]) is None
    known = np.ones(2, np.float32)
    np.testing.assert_array_equal(followed(known, squares[1:]), known)
    np.testing.assert_array_equal(followed(known, squares[:0]), known)


def test_an_input_that_never_missed_is_not_infinitely_telling() -> None:
    """Protects the sum: a spread of zero is a floor."""
    np.testing.assert_allclose(judged(np.ones((1, 1), np.float32), np.zeros(1, np.float32)), [1 / FLOOR])
