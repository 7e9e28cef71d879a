"""Drift detection: delays, misses and false alarms on streams whose drifts are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.measures.detection import NOTHING, judge_alarms

PLACES = st.lists(st.integers(0, 2000), max_size=8)


def test_hand_worked() -> None:
    """Protects the definitions: a false alarm, a hit with an echo, a miss, an alarm too late."""
    found = judge_alarms([1000, 2000, 3000], [500, 1040, 1100, 3900], samples=4000, horizon=300)
    assert (found.delays, found.missed, found.false_alarms) == ((40,), 2, 2)
    assert found.median_delay == 40
    assert found.false_alarms_per_1000 == 0.5


def test_a_drift_explains_nothing_past_the_next_one() -> None:
    """Protects the delay of the second drift from an alarm that belongs to it."""
    assert judge_alarms([100, 150], [160], samples=1000, horizon=500).delays == (10,)


@given(PLACES, PLACES, st.integers(0, 500))
def test_every_drift_and_alarm_is_accounted_for(drifts: list[int], alarms: list[int], horizon: int) -> None:
    """Protects the counts."""
    found = judge_alarms(drifts, alarms, 2001, horizon)
    assert len(found.delays) + found.missed == len(set(drifts))
    assert all(0 <= delay <= horizon for delay in found.delays)
    assert 0 <= found.false_alarms <= len(alarms)
    assert judge_alarms(drifts, drifts, 2001, horizon).false_alarms == 0


@given(PLACES, PLACES, st.integers(0, 2000), st.integers(0, 500))
def test_one_more_alarm_is_never_free(drifts: list[int], alarms: list[int], more: int, horizon: int) -> None:
    """Protects the measure from a detector that always fires."""
    before = judge_alarms(drifts, alarms, 2001, horizon)
    after = judge_alarms(drifts, [*alarms, more], 2001, horizon)
    assert after.false_alarms >= before.false_alarms
    assert after.missed <= before.missed


@given(PLACES, PLACES)
def test_streams_add(drifts: list[int], alarms: list[int]) -> None:
    """Protects the sum over clients, whatever their order."""
    one, two = judge_alarms(drifts, alarms, 2001, 100), judge_alarms([5], [1, 6], 10, 3)
    both, turned = one + two, two + one
    assert (both.missed, both.false_alarms, both.samples) == (
        turned.missed,
        turned.false_alarms,
        turned.samples,
    )
    assert both.median_delay == turned.median_delay
    assert one + NOTHING == one


def test_nothing_is_none() -> None:
    """Protects against a delay of zero where nothing was detected."""
    assert NOTHING.median_delay is None
    assert NOTHING.false_alarms_per_1000 is None
    with pytest.raises(ValueError, match="horizon"):
        judge_alarms([], [], 0, -1)
