"""Prequential accuracy: what fading and windows mean, and that batches change nothing but the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.measures.prequential import faded, windowed

HITS = st.lists(st.booleans(), min_size=1, max_size=60)
BATCHES = st.lists(
    st.integers(0, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=30
)


@given(HITS, st.floats(0.5, 1.0))
def test_single_samples_give_the_definition(hits: list[bool], fading: float) -> None:
    """Protects the formula: S = x + a S, N = 1 + a N, accuracy = S / N."""
    total = weight = 0.0
    expected = []
    for hit in hits:
        total, weight = hit + fading * total, 1 + fading * weight
        expected.append(total / weight)
    np.testing.assert_allclose(faded(hits, [1] * len(hits), fading), expected, rtol=1e-9)


@given(HITS, st.integers(1, 70))
def test_a_window_is_the_mean_of_the_last_hits(hits: list[bool], window: int) -> None:
    """Protects the window's length and its beginning."""
    expected = [np.mean(hits[max(0, i + 1 - window) : i + 1]) for i in range(len(hits))]
    np.testing.assert_allclose(windowed(hits, [1] * len(hits), window), expected, atol=1e-12)


@given(BATCHES, st.floats(0.5, 1.0), st.integers(1, 50))
def test_values_lie_between_the_batches(batches: list[tuple[int, int]], fading: float, window: int) -> None:
    """Protects the range: a mean of accuracies is none that no batch reaches; NaN before any sample."""
    correct, samples = zip(*batches, strict=True)
    for found in (faded(correct, samples, fading), windowed(correct, samples, window)):
        for i, value in enumerate(found):
            own = [c / n for c, n in batches[: i + 1] if n]
            assert np.isnan(value) if not own else min(own) - 1e-9 <= value <= max(own) + 1e-9


def test_a_batch_counts_as_the_mean_over_its_orders() -> None:
    """Protects what is said of batches: a hit of two samples is first as often as last."""
    fading = 0.9
    first = faded([1, 1, 0], [1, 1, 1], fading)[-1]
    last = faded([1, 0, 1], [1, 1, 1], fading)[-1]
    assert faded([1, 1], [1, 2], fading)[-1] == pytest.approx((first + last) / 2)


def test_without_fading_it_is_the_mean() -> None:
    """Protects the hand-worked case, and a window that starts in whole batches."""
    assert faded([3, 1], [4, 6], 1.0).tolist() == [0.75, 0.4]
    assert windowed([3, 1, 5], [4, 6, 5], 10).tolist() == [0.75, 0.4, 6 / 11]


@pytest.mark.parametrize("wrong", [([2], [1]), ([-1], [1]), ([1, 1], [1])])
def test_impossible_counts_are_refused(wrong: tuple[list[int], list[int]]) -> None:
    """Protects against accuracies above 1."""
    for measure in (faded, windowed):
        with pytest.raises(ValueError, match="should be a count"):
            measure(*wrong)
