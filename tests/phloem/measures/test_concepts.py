"""Forgetting and transfer: the definitions, worked by hand and as laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phloem.measures.concepts import backward_transfer, final_accuracy, forgetting

MATRICES = st.integers(2, 5).flatmap(lambda n: arrays(np.float64, (n, n), elements=st.floats(0, 1)))
WORKED = [[0.9, 0.1, 0.0], [0.6, 0.8, 0.1], [0.3, 0.7, 0.95]]


def test_hand_worked() -> None:
    """Protects the definitions: three concepts, each learned and then partly forgotten."""
    assert final_accuracy(WORKED) == pytest.approx((0.3 + 0.7 + 0.95) / 3)
    assert forgetting(WORKED) == pytest.approx((0.6 + 0.1) / 2)
    assert backward_transfer(WORKED) == pytest.approx((-0.6 - 0.1) / 2)
    better = [[0.5, 0.0], [0.7, 0.9]]
    assert forgetting(better) == pytest.approx(-0.2)
    assert backward_transfer(better) == pytest.approx(0.2)


@given(MATRICES)
def test_bounds(matrix: np.ndarray) -> None:
    """Protects the ranges, and that forgetting is measured from the best, transfer from the diagonal."""
    lost, back = forgetting(matrix), backward_transfer(matrix)
    assert lost is not None
    assert back is not None
    assert -1 <= back <= 1
    assert -1 <= lost <= 1
    assert lost >= -back - 1e-12
    assert matrix[-1].min() - 1e-12 <= final_accuracy(matrix) <= matrix[-1].max() + 1e-12


@given(MATRICES)
def test_nothing_is_forgotten_where_nothing_falls(matrix: np.ndarray) -> None:
    """Protects the zero of the scale."""
    rising = np.maximum.accumulate(matrix, axis=0)
    assert forgetting(rising) <= 0  # type: ignore[operator]
    flat = np.repeat(matrix[:1], len(matrix), axis=0)
    assert forgetting(flat) == backward_transfer(flat) == 0.0


def test_one_concept_knows_no_forgetting() -> None:
    """Protects streams without a change."""
    assert forgetting([[0.5]]) is None
    assert backward_transfer([[0.5]]) is None


@pytest.mark.parametrize("wrong", [[[0.5, 0.5]], [[1.5]], [[np.nan]], []])
def test_what_is_no_matrix_of_accuracies_is_refused(wrong: list[list[float]]) -> None:
    """Protects against a matrix with a hole in it, which would make every mean a lie."""
    with pytest.raises(ValueError, match="accuracy matrix"):
        forgetting(wrong)
