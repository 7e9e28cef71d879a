"""Average precision: exact from scores, and bounded from the histograms of many clients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from phloem.errors import ProtocolError
from phloem.measures.histogram import BINS, count_scores, pack_counts, unpack_counts
from phloem.measures.precision import area_from_bins, average_precision

SCORED = st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1, max_size=80).filter(
    lambda rows: any(mark for _, mark in rows)
)
CLOSE = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40).filter(
    lambda rows: any(mark for _, mark in rows)
)


@given(st.one_of(SCORED, CLOSE))
def test_it_is_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    """Protects the definition, ties included."""
    scores, marks = zip(*rows, strict=True)
    assert average_precision(scores, marks) == pytest.approx(average_precision_score(marks, scores))


@given(CLOSE)
def test_only_the_order_of_scores_counts(rows: list[tuple[float, bool]]) -> None:
    """Protects the comparison of models whose scores have other units."""
    scores, marks = np.array(rows, float).T
    assert average_precision(np.exp(scores / 2), marks) == average_precision(scores, marks)


@given(st.one_of(SCORED, CLOSE), st.integers(1, 4))
def test_bins_bound_what_they_hide(rows: list[tuple[float, bool]], clients: int) -> None:
    """Protects the promise of merged histograms: the exact value lies within the stated bounds."""
    merged = np.zeros((2, BINS), np.int64)
    for i in range(min(clients, len(rows))):
        merged += count_scores(*zip(*rows[i::clients], strict=True))
    area, exact = area_from_bins(merged[0], merged[1]), average_precision(*zip(*rows, strict=True))
    assert area is not None
    assert exact is not None
    assert 0.0 <= area.low - 1e-12 <= exact <= area.high + 1e-12 <= 1.0 + 2e-12
    assert area.low <= area.value <= area.high


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=9))
def test_no_order_within_a_bin_leaves_the_bounds(rows: list[tuple[int, int, bool]]) -> None:
    """Protects the bounds from being wrong: whatever the scores within a bin, tied, mixed or apart."""
    coarse, fine, marks = np.array(rows, int).T
    exact = average_precision(4 * coarse + fine, marks)
    counts = [np.bincount(coarse[marks == kind], minlength=3) for kind in (0, 1)]
    area = area_from_bins(*counts)
    assert (area is None) == (exact is None)
    if area is None or exact is None:
        return
    assert area.low - 1e-12 <= exact <= area.high + 1e-12


def test_the_bounds_are_reached() -> None:
    """Protects the bounds from being wide: two normal and two anomalous samples in one bin."""
    area = area_from_bins([2], [2])
    assert area is not None
    assert area.low == pytest.approx(average_precision([4, 3, 2, 1], [0, 0, 1, 1]))
    assert area.value == average_precision([1, 1, 1, 1], [0, 0, 1, 1])
    assert area.high == average_precision([2, 2, 1, 1], [1, 1, 0, 0])


def test_hand_worked() -> None:
    """Protects the extremes: perfect, hopeless, all the same, none."""
    assert average_precision([3, 2, 1, 0], [1, 1, 0, 0]) == 1.0
    assert average_precision([3, 2, 1, 0], [0, 0, 1, 1]) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision([1, 1, 1, 1], [1, 0, 0, 0]) == 0.25
    assert average_precision([1, 2], [0, 0]) is None
    assert area_from_bins([], []) is None


@given(SCORED)
def test_packed_counts_come_back(rows: list[tuple[float, bool]]) -> None:
    """Protects what a client sends: every sample counted once, four bytes a cell at most."""
    counts = count_scores(*zip(*rows, strict=True))
    data = pack_counts(counts)
    assert counts.sum() == len(rows)
    assert len(data) <= 4 * len(rows)
    np.testing.assert_array_equal(unpack_counts(data), counts)


def test_counts_above_a_cells_limit_come_back() -> None:
    """Protects a long round: a cell holds 65,535 samples, a bin any number."""
    counts = np.zeros((2, BINS), np.int64)
    counts[1, 7], counts[0, 255] = 200_000, 65_535
    np.testing.assert_array_equal(unpack_counts(pack_counts(counts)), counts)


@given(st.binary(max_size=64))
def test_any_bytes_are_counts_or_refused(data: bytes) -> None:
    """Protects the server from a client's histogram."""
    try:
        found = unpack_counts(data)
    except ProtocolError:
        return
    assert found.shape == (2, BINS)
    assert found.min() >= 0


def test_odd_scores_have_a_bin() -> None:
    """Protects a diverged model's scores from being lost: NaN is as anomalous as can be."""
    counts = count_scores([np.nan, np.inf, 0.0, 2.0**-16, 2.0**16], [0, 1, 0, 1, 1])
    assert counts[0, [0, 255]].tolist() == [1, 1]
    assert counts[1, [1, 255]].tolist() == [1, 2]
    with pytest.raises(ValueError, match="0 or 1"):
        count_scores([1.0], [2])
