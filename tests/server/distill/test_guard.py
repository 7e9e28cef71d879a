"""The guard: who judges a distilled model, and that no worse one is kept."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import DistillConfig
from phloem.learning import Scores
from phloem.server.distill.guard import chance, divide, is_better
from phloem.sources import Samples

HUNDRED = Samples(np.zeros((100, 2), np.float32), np.zeros(100, np.int64))


def scores(right: int, loss: float = 1.0, first: int = 0) -> Scores:
    """Scores of a model that is right on so many of a hundred samples, beginning with sample `first`."""
    predicted = np.ones(100, np.int64)
    predicted[first : first + right] = 0
    return Scores(loss, right, 100, predicted)


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (scores(80, 0.5), True),
        (scores(75, 0.5), True),
        (scores(74, 0.5), False),
        (scores(76, 0.5, first=5), False),
        (scores(90, 0.5, first=10), True),
        (scores(70, 1.0), False),
        (scores(60, 2.0), False),
        (scores(90, 1.1), False),
        (scores(80, float("nan")), False),
        (Scores(0.5, 80, 100), False),
    ],
    ids=[
        "better",
        "just unlikely enough by chance",
        "too likely by chance",
        "as much better, on other samples",
        "much better, on other samples",
        "equal",
        "worse",
        "larger loss",
        "NaN",
        "nobody knows on which samples",
    ],
)
def test_only_what_is_better_by_more_than_chance_is_kept(after: Scores, kept: bool) -> None:
    """Protects the global model from a bad proxy, and from luck."""
    assert is_better(scores(70), after, HUNDRED, DistillConfig()) is kept


def test_the_margin_counts_where_chance_is_left_out() -> None:
    """Protects the setting that bounds how little better is not worth a change."""
    config = DistillConfig(doubt=1.0, margin=0.02)
    assert is_better(scores(70), scores(72, 0.5), HUNDRED, config)
    assert not is_better(scores(70), scores(71, 0.5), HUNDRED, config)
    assert not is_better(scores(70), scores(70, 0.5), HUNDRED, DistillConfig(doubt=1.0, margin=0.0))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
    st.floats(0.01, 1),
    st.floats(0, 0.1),
)
def test_what_is_kept_never_has_fewer_right(
    pairs: list[tuple[bool, bool]], doubt: float, margin: float
) -> None:
    """Protects the law of the guard, whatever its settings: accuracy on the judges never falls."""
    hits = np.array(pairs)
    judges = Samples(np.zeros((len(hits), 1), np.float32), np.zeros(len(hits), np.int64))
    before, after = (
        Scores(1.0, int(hits[:, i].sum()), len(hits), np.where(hits[:, i], 0, 1)) for i in (0, 1)
    )
    if is_better(before, after, judges, DistillConfig(doubt=doubt, margin=margin)):
        assert after.correct > before.correct
        assert chance(int((hits[:, 1] & ~hits[:, 0]).sum()), int((hits[:, 0] & ~hits[:, 1]).sum())) <= doubt


def test_chance_by_hand() -> None:
    """Protects the test's arithmetic: a coin's tails are counted, not approximated."""
    assert chance(0, 0) == 1.0
    assert chance(5, 0) == pytest.approx(1 / 32)
    assert chance(0, 5) == 1.0
    assert chance(2, 1) == pytest.approx(0.5)
    assert chance(1200, 0) < 1e-300


@given(st.lists(st.integers(0, 4), min_size=0, max_size=60))
def test_who_teaches_does_not_judge(labels: list[int]) -> None:
    """Protects the judgement: both sides have every class, in halves, and no sample is on both."""
    y = np.array(labels, np.int64)
    validation = Samples(np.arange(len(y), dtype=np.float32)[:, None], y)
    lessons, judges = divide(validation, DistillConfig(label_weight=0.2))
    assert sorted([*lessons.x[:, 0], *judges.x[:, 0]]) == list(range(len(y)))
    for label in range(5):
        assert 0 <= (judges.y == label).sum() - (lessons.y == label).sum() <= 1
    again, _ = divide(validation, DistillConfig(label_weight=0.2))
    np.testing.assert_array_equal(again.x, lessons.x)


def test_without_a_weight_for_labels_all_judge() -> None:
    """Protects runs that distil without labels: the guard is as sharp as it can be."""
    lessons, judges = divide(HUNDRED, DistillConfig(label_weight=0.0))
    assert (len(lessons), judges) == (0, HUNDRED)


def test_chance_is_exact_and_quick_for_many_samples() -> None:
    """Protects a server with a large validation set: the tail is the textbook's sum, to the last bit."""
    won, lost = 310, 250
    tail = sum(comb(won + lost, heads) for heads in range(won, won + lost + 1))
    assert chance(won, lost) == tail / 2 ** (won + lost)
    assert 0 < chance(10_100, 9_900) < 0.1
