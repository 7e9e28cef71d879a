"""The teacher: who has a vote, on what, and how loud."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.client.learner import Learner
from phloem.compression.update import Update
from phloem.config import ModelConfig
from phloem.server.distill.teacher import FLOOR, SMOOTHING, Teacher, certainty_of, softmax

CLASSES = 3
PROXY = np.zeros((4, 2), np.float32)


def known() -> Learner:
    """A network without hidden layers: on inputs of zeros its logits are its bias."""
    return Learner(ModelConfig(hidden=()), (2,), CLASSES, "cpu")


def model(*bias: float) -> Update:
    weights = dict(known().initial(0))
    name = next(name for name, array in weights.items() if array.shape == (CLASSES,))
    return {**weights, name: np.array(bias, np.float32)}


def counts(*seen: int) -> NDArray[np.int64]:
    return np.array(seen, np.int64)


def test_a_product_of_votes_by_hand() -> None:
    """Protects the definition: prior out, log-probabilities weigh by the root of what was seen of a class."""
    teacher = Teacher(known(), PROXY, temperature=2.0)
    biases = np.array([[2.0, 0.0, -2.0], [-2.0, 4.0, 0.0]])
    seen = np.array([[10, 0, 5], [0, 20, 5]])
    for bias, row in zip(biases, seen, strict=True):
        teacher.hear(model(*bias), counts(*row))
    smooth = seen + SMOOTHING
    adjusted = np.exp(biases) / (smooth / smooth.sum(1, keepdims=True))
    said = np.log(adjusted / adjusted.sum(1, keepdims=True) + FLOOR)
    scores = (np.sqrt(smooth) * said).sum(0) / np.sqrt(smooth).sum(0)
    expected = np.exp(scores / 2) / np.exp(scores / 2).sum()
    np.testing.assert_allclose(teacher.opinion(), np.tile(expected, (4, 1)), rtol=1e-5)


def test_a_mean_of_votes_by_hand() -> None:
    """Protects the definition: for each class, clients weigh by how many of its samples they saw."""
    teacher = Teacher(known(), PROXY, temperature=2.0, rule="mean")
    teacher.hear(model(2.0, 0.0, -2.0), counts(10, 0, 5))
    teacher.hear(model(-2.0, 4.0, 0.0), counts(0, 20, 5))
    first = softmax(np.array([[2.0, 0.0, -2.0]], np.float32), 2.0)[0]
    second = softmax(np.array([[-2.0, 4.0, 0.0]], np.float32), 2.0)[0]
    weights = np.array([[10, 0, 5], [0, 20, 5]]) + SMOOTHING
    votes = (weights[0] * first + weights[1] * second) / weights.sum(axis=0)
    np.testing.assert_allclose(teacher.opinion(), np.tile(votes / votes.sum(), (4, 1)), rtol=1e-6)


@pytest.mark.parametrize("rule", ["product", "certain", "mean"])
def test_who_never_saw_a_class_hardly_votes_on_it(rule: str) -> None:
    """Protects non-iid clients: one that saw class 0 alone does not vote the others' class 1 away."""
    teacher = Teacher(known(), PROXY, 1.0, rule)  # type: ignore[arg-type]
    teacher.hear(model(0.0, 10.0, 0.0), counts(0, 50, 50))
    teacher.hear(model(10.0, 0.0, 0.0), counts(50, 0, 0))
    opinion = teacher.opinion()[0]
    assert opinion[1] > 0.4, "who knows the class is heard"
    assert opinion[2] < 0.01


def test_what_a_client_takes_for_granted_is_taken_out_of_its_product() -> None:
    """Protects rare classes: who saw nearly only class 0 calls a doubtful sample of class 1 a 0."""
    teacher = Teacher(known(), PROXY, 1.0)
    teacher.hear(model(1.0, 0.0, -9.0), counts(99, 1, 0))
    assert teacher.opinion()[0].argmax() == 1
    mean = Teacher(known(), PROXY, 1.0, "mean")
    mean.hear(model(1.0, 0.0, -9.0), counts(99, 1, 0))
    assert mean.opinion()[0].argmax() == 0


def test_nobody_alone_rules_a_class_out() -> None:
    """Protects a product from a zero: one that is sure of the wrong does not outvote ten."""
    teacher = Teacher(known(), PROXY, 1.0)
    teacher.hear(model(-1e4, 0.0, 0.0), counts(10, 10, 10))
    for _ in range(10):
        teacher.hear(model(9.0, 0.0, 0.0), counts(10, 10, 10))
    assert teacher.opinion()[0].argmax() == 0


def test_who_is_certain_is_heard_more() -> None:
    """Protects samples that one client knows and another guesses at: the guess hardly counts."""
    found = []
    for rule in ("certain", "mean"):
        teacher = Teacher(known(), PROXY, 1.0, rule)
        teacher.hear(model(0.1, 0.0, 0.0), counts(10, 10, 10))
        teacher.hear(model(0.0, 0.0, 9.0), counts(10, 10, 10))
        found.append(teacher.opinion()[0][2])
    assert found[0] > 0.99
    assert found[1] < 0.7


@pytest.mark.parametrize("rule", ["product", "certain", "mean"])
def test_the_last_global_model_has_its_share(rule: str) -> None:
    """Protects what was learned before: on classes that nobody saw this round, it is the one heard."""
    teacher = Teacher(known(), PROXY, 1.0, rule)  # type: ignore[arg-type]
    teacher.hear(model(5.0, 0.0, 0.0), counts(30, 0, 0))
    alone = teacher.opinion()[0]
    teacher.hear_again(model(0.0, 0.0, 5.0), share=0.5)
    together = teacher.opinion()[0]
    assert together[2] > 5 * alone[2] or together.argmax() == 2
    teacher.hear_again(model(0.0, 5.0, 0.0), share=0.0)
    np.testing.assert_array_equal(teacher.opinion()[0], together)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_certainty_is_between_none_and_all(rows: list[list[float]]) -> None:
    """Protects the weights: 0 to 1 whatever the prediction, highest where one class has everything."""
    probabilities = np.array(rows) + 1e-12
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = certainty_of(probabilities)
    assert ((found > 0) & (found <= 1 + 1e-12)).all()
    assert certainty_of(np.full((1, 4), 0.25))[0] < 1e-5
    assert certainty_of(np.eye(4)[:1])[0] == 1


@pytest.mark.parametrize("rule", ["product", "certain", "mean"])
def test_a_class_that_nobody_saw_is_voted_on_by_all(rule: str) -> None:
    """Protects against 0/0, at the start and with rare classes."""
    teacher = Teacher(known(), PROXY, 1.0, rule)  # type: ignore[arg-type]
    teacher.hear(model(1.0, 2.0, 3.0), counts(0, 0, 0))
    teacher.hear(model(3.0, 2.0, 1.0), counts(0, 0, 0))
    assert np.isfinite(teacher.opinion()).all()
    np.testing.assert_allclose(teacher.opinion().sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("rule", ["product", "certain", "mean"])
def test_a_model_that_overflows_has_no_vote(rule: str) -> None:
    """Protects the others: one client's NaN does not silence them, nor is it asked again."""
    teacher = Teacher(known(), PROXY, 1.0, rule, remembers=True)  # type: ignore[arg-type]
    teacher.hear(model(0.0, 5.0, 0.0), counts(1, 1, 1))
    alone = teacher.opinion()
    for value in (np.nan, np.inf, -np.inf):
        teacher.hear(model(value, 0.0, 0.0), counts(100, 100, 100))
    np.testing.assert_array_equal(teacher.opinion(), alone)
    assert len(teacher.voters) == 1


def test_asked_again_the_same_are_heard_in_the_same_way() -> None:
    """Protects generated questions: the votes on them are those they would have got as a proxy."""
    rng = np.random.default_rng(0)
    asked, weights = rng.normal(size=(5, 2)).astype(np.float32), [known().initial(seed) for seed in range(3)]
    first, later = Teacher(known(), asked, 1.0), Teacher(known(), PROXY, 1.0, remembers=True)
    for seed, each in enumerate(weights):
        for teacher in (first, later):
            teacher.hear(each, counts(seed, 5, 9))
    np.testing.assert_allclose(later.asked(asked).opinion(), first.opinion(), rtol=1e-6)


def test_a_teacher_that_heard_nobody_has_no_opinion() -> None:
    """Protects against distilling towards nothing."""
    with pytest.raises(ValueError, match="heard one client at least"):
        Teacher(known(), PROXY, temperature=1.0).opinion()


@given(
    st.lists(
        st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3), min_size=1, max_size=4
    ),
    st.floats(0.01, 100),
)
def test_softmax_is_a_distribution(logits: list[list[float]], temperature: float) -> None:
    """Protects the loss: rows sum to 1 and hold no NaN, however large the logits are."""
    found = softmax(np.array(logits, np.float32), temperature)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
