"""Kappa: right by more than chance, from margins alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from phloem.measures.kappa import cohens_kappa, skill

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def margins(pairs: list[tuple[int, int]]) -> tuple[int, np.ndarray, np.ndarray]:
    """Return what a client would send of labels and predictions."""
    labels, predicted = np.array(pairs).T
    right = int((labels == predicted).sum())
    return right, np.bincount(labels, minlength=4), np.bincount(predicted, minlength=4)


@given(PAIRS)
def test_it_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """Protects the definition: the margins of a confusion matrix are enough."""
    found = cohens_kappa(*margins(pairs))
    if found is None:
        assert len({value for pair in pairs for value in pair}) == 1
    else:
        labels, predicted = zip(*pairs, strict=True)
        assert found == pytest.approx(cohen_kappa_score(labels, predicted), abs=1e-9)
        assert found <= 1.0


@given(PAIRS, st.permutations(range(4)))
def test_names_of_classes_do_not_matter(pairs: list[tuple[int, int]], names: list[int]) -> None:
    """Protects the comparison of data sets that number their classes in other ways."""
    assert cohens_kappa(*margins(pairs)) == pytest.approx(
        cohens_kappa(*margins([(names[a], names[b]) for a, b in pairs]))
    )


@given(PAIRS, st.floats(0, 0.99), st.floats(0, 1))
def test_skill_is_zero_at_the_baseline_and_one_at_perfection(
    pairs: list[tuple[int, int]], baseline: float, accuracy: float
) -> None:
    """Protects kappa-M and kappa-temporal; and kappa is skill against chance."""
    assert skill(baseline, baseline) == 0.0
    assert skill(1.0, baseline) == 1.0
    found = skill(accuracy, baseline)
    assert found is not None
    assert (found > 0) == (accuracy > baseline)
    correct, labels, predicted = margins(pairs)
    kappa = cohens_kappa(correct, labels, predicted)
    assume(kappa is not None)
    chance = float(labels @ predicted) / len(pairs) ** 2
    assert kappa == pytest.approx(skill(correct / len(pairs), chance))


def test_what_cannot_be_is_refused_or_none() -> None:
    """Protects readers from a division by zero, and from margins of other samples."""
    assert cohens_kappa(0, [0, 0], [0, 0]) is None
    assert skill(1.0, 1.0) is None
    for wrong in ((1, [2, 0], [1, 0]), (3, [1, 1], [1, 1])):
        with pytest.raises(ValueError, match="same samples"):
            cohens_kappa(*wrong)
