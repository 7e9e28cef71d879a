"""The worst clients, and the bytes of a measure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.measures.cost import bytes_per_point, bytes_to_reach
from phloem.measures.spread import worst_mean

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(VALUES, st.floats(0.01, 1.0))
def test_the_worst_are_worst_in_any_order(values: list[float], share: float) -> None:
    """Protects fairness figures: between the worst client and the mean, whoever comes first."""
    found = worst_mean(values, share)
    assert found is not None
    assert min(values) - 1e-12 <= found <= np.mean(values) + 1e-12
    assert found == worst_mean(values[::-1], share)
    assert worst_mean(values, 1.0) == pytest.approx(np.mean(values))


def test_a_tenth_of_the_clients_is_one_at_least() -> None:
    """Protects small federations, and the count where a tenth is whole."""
    assert worst_mean([0.5, 0.25]) == 0.25
    assert worst_mean(list(range(20))) == 0.5
    assert worst_mean([]) is None
    with pytest.raises(ValueError, match="share"):
        worst_mean([1.0], 0.0)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1)), max_size=20), st.floats(0, 1))
def test_more_costs_no_less(points: list[tuple[int, float]], target: float) -> None:
    """Protects the bytes to a target: the first time counts, and a higher target comes no earlier."""
    points = sorted(points, key=lambda point: point[0])
    found, lower = bytes_to_reach(target, points), bytes_to_reach(target / 2, points)
    if found is None:
        assert all(value < target for _, value in points)
    else:
        assert lower is not None
        assert lower <= found


def test_a_point_is_a_hundredth() -> None:
    """Protects the unit, and measures that did not rise."""
    assert bytes_per_point(1000, 0.5, 0.75) == 40.0
    assert bytes_per_point(1000, 0.5, 0.5) is None
    assert bytes_to_reach(0.9, [(10, 0.5), (20, 0.9), (30, 0.95)]) == 20
