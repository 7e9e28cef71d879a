"""Distillation: who has a vote, how loud, and that a bad outcome is never kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.client import learner as learner_module
from phloem.client.learner import Learner
from phloem.compression.update import Schema, Update
from phloem.config import ClientConfig, DistillConfig, ModelConfig
from phloem.learning import NOTHING, Past, Scores
from phloem.server.distill import (
    SMOOTHING,
    Teacher,
    certainty_of,
    distill,
    softmax,
)
from phloem.sources import Samples

CLASSES = 3


class _Known:
    """A model whose logits are its bias, whatever the inputs; `imitate` returns what it was made with."""

    classes = CLASSES
    schema = Schema.of({"b": np.zeros(CLASSES, np.float32)})

    def __init__(self, student: Update | None = None, scores: Mapping[float, Scores] | None = None) -> None:
        self.student, self.scores = student, scores or {}

    def initial(self, seed: int) -> Update:
        return model(0, 0, 0)

    def logits(self, weights: Update, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.tile(weights["b"], (len(x), 1))

    def score(self, weights: Update, samples: Samples) -> Scores:
        return self.scores[float(weights["b"][0])]

    def learn(
        self, weights: Update, samples: Samples, config: ClientConfig, seed: int, past: Past = NOTHING
    ) -> Update:
        raise AssertionError("the server trains on nobody's labels")

    def fisher(self, weights: Update, samples: Samples) -> Update:
        raise AssertionError("the server trains on nobody's labels")

    def importance(self, weights: Update, samples: Samples, values: Update, by: str) -> Update:
        raise AssertionError("the server prunes nothing here")

    def imitate(
        self,
        weights: Update,
        x: NDArray[np.float32],
        opinion: NDArray[np.float32],
        config: DistillConfig,
        seed: int,
    ) -> Update:
        assert self.student is not None
        return self.student


def model(*bias: float) -> Update:
    return {"b": np.array(bias, np.float32)}


PROXY = np.zeros((4, 2), np.float32)
HUNDRED = Samples(np.zeros((100, 2), np.float32), np.zeros(100, np.int64))


def counts(*seen: int) -> NDArray[np.int64]:
    return np.array(seen, np.int64)


def test_the_teacher_is_the_weighted_mean_by_hand() -> None:
    """Protects the definition: for each class, clients weigh by how many of its samples they saw."""
    teacher = Teacher(_Known(), PROXY, temperature=2.0)
    teacher.hear(model(2.0, 0.0, -2.0), counts(10, 0, 5))
    teacher.hear(model(-2.0, 4.0, 0.0), counts(0, 20, 5))
    first = softmax(np.array([[2.0, 0.0, -2.0]], np.float32), 2.0)[0]
    second = softmax(np.array([[-2.0, 4.0, 0.0]], np.float32), 2.0)[0]
    weights = np.array([[10, 0, 5], [0, 20, 5]]) + SMOOTHING
    votes = (weights[0] * first + weights[1] * second) / weights.sum(axis=0)
    np.testing.assert_allclose(teacher.opinion(), np.tile(votes / votes.sum(), (4, 1)), rtol=1e-6)


def test_who_never_saw_a_class_hardly_votes_on_it() -> None:
    """Protects non-iid clients: one that saw class 0 alone does not vote the others' class 1 away."""
    teacher = Teacher(_Known(), PROXY, temperature=1.0)
    teacher.hear(model(0.0, 10.0, 0.0), counts(0, 50, 50))
    teacher.hear(model(10.0, 0.0, 0.0), counts(50, 0, 0))
    opinion = teacher.opinion()[0]
    assert opinion[0] == pytest.approx(opinion[1], rel=0.01), "each is heard on what it knows"
    assert opinion[2] < 0.001


def test_who_is_certain_is_heard_more() -> None:
    """Protects samples that one client knows and another guesses at: the guess hardly counts."""
    teacher = Teacher(_Known(), PROXY, temperature=1.0, certainty=True)
    teacher.hear(model(0.1, 0.0, 0.0), counts(10, 10, 10))
    teacher.hear(model(0.0, 0.0, 9.0), counts(10, 10, 10))
    assert teacher.opinion()[0][2] > 0.99
    plain = Teacher(_Known(), PROXY, temperature=1.0)
    plain.hear(model(0.1, 0.0, 0.0), counts(10, 10, 10))
    plain.hear(model(0.0, 0.0, 9.0), counts(10, 10, 10))
    assert plain.opinion()[0][2] < 0.7


@pytest.mark.parametrize("certainty", [False, True])
def test_the_last_global_model_has_its_share(certainty: bool) -> None:
    """Protects what was learned before: on classes that nobody saw this round, it is the one heard."""
    teacher = Teacher(_Known(), PROXY, 1.0, certainty)
    teacher.hear(model(5.0, 0.0, 0.0), counts(30, 0, 0))
    alone = teacher.opinion()[0]
    teacher.hear_again(model(0.0, 0.0, 5.0), share=0.5)
    together = teacher.opinion()[0]
    assert together[2] > 10 * alone[2]
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


def test_a_class_that_nobody_saw_is_voted_on_by_all() -> None:
    """Protects against 0/0, at the start and with rare classes."""
    teacher = Teacher(_Known(), PROXY, temperature=1.0)
    teacher.hear(model(1.0, 2.0, 3.0), counts(0, 0, 0))
    teacher.hear(model(3.0, 2.0, 1.0), counts(0, 0, 0))
    assert np.isfinite(teacher.opinion()).all()
    np.testing.assert_allclose(teacher.opinion().sum(axis=1), 1.0, rtol=1e-6)


def test_a_model_that_overflows_has_no_vote() -> None:
    """Protects the others: one client's NaN does not silence them."""
    teacher = Teacher(_Known(), PROXY, temperature=1.0)
    teacher.hear(model(0.0, 5.0, 0.0), counts(1, 1, 1))
    alone = teacher.opinion()
    for value in (np.nan, np.inf, -np.inf):
        teacher.hear(model(value, 0.0, 0.0), counts(100, 100, 100))
    np.testing.assert_array_equal(teacher.opinion(), alone)


def test_a_teacher_that_heard_nobody_has_no_opinion() -> None:
    """Protects against distilling towards nothing."""
    with pytest.raises(ValueError, match="heard one client at least"):
        Teacher(_Known(), PROXY, temperature=1.0).opinion()


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


GOOD, SAME, WORSE = Scores(0.5, 80, 100), Scores(1.0, 70, 100), Scores(2.0, 60, 100)


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (GOOD, True),
        (Scores(0.5, 72, 100), True),
        (Scores(0.5, 71, 100), False),
        (SAME, False),
        (WORSE, False),
        (Scores(0.5, 69, 100), False),
        (Scores(1.1, 90, 100), False),
        (Scores(float("nan"), 0, 100), False),
    ],
    ids=[
        "better",
        "just better enough",
        "hardly better",
        "equal",
        "worse",
        "fewer right",
        "larger loss",
        "NaN",
    ],
)
def test_only_what_validation_finds_better_is_kept(after: Scores, kept: bool) -> None:
    """Protects the global model from a bad proxy: the guard goes back to the average."""
    average, student = model(1, 0, 0), model(2, 0, 0)
    known = _Known(student, {1.0: SAME, 2.0: after})
    teacher = Teacher(known, PROXY, 1.0)
    teacher.hear(average, counts(1, 1, 1))
    outcome = distill(average, teacher, HUNDRED, DistillConfig(), seed=0)
    assert (outcome.kept, outcome.before, outcome.after) == (kept, SAME, after)
    assert outcome.model is (student if kept else average)


def learner() -> Learner:
    return Learner(ModelConfig(hidden=(16,)), (8,), CLASSES, "cpu")


def samples(seed: int, count: int = 200) -> Samples:
    """Three classes on a line: easily told apart."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    return Samples((rng.normal(size=(count, 8)) + 2 * y[:, None]).astype(np.float32), y)


def test_the_guard_keeps_the_average_when_the_proxy_is_bad() -> None:
    """Protects against a teacher that is wrong, end to end: trained, tried, and not kept."""
    student = learner()
    config = ClientConfig(epochs=20, learning_rate=0.05)
    average = student.learn(student.initial(0), samples(1), config, seed=1)
    fool = student.learn(student.initial(0), Samples(samples(2).x, (samples(2).y + 1) % 3), config, seed=2)
    teacher = Teacher(student, samples(3).x, temperature=2.0)
    teacher.hear(fool, counts(100, 100, 100))
    outcome = distill(average, teacher, samples(4), DistillConfig(steps=200), seed=3)
    assert not outcome.kept
    assert outcome.after.accuracy < 0.5 < 0.8 < outcome.before.accuracy
    assert outcome.model is average


def test_a_good_teacher_makes_a_bad_average_better() -> None:
    """Protects the point of it: what the clients know together gets into the global model, without labels."""
    student = learner()
    config = ClientConfig(epochs=20, learning_rate=0.05)
    expert = student.learn(student.initial(0), samples(1), config, seed=1)
    teacher = Teacher(student, samples(3).x, temperature=2.0)
    teacher.hear(expert, counts(100, 100, 100))
    outcome = distill(student.initial(0), teacher, samples(4), DistillConfig(steps=200), seed=3)
    assert outcome.kept
    assert outcome.after.accuracy > outcome.before.accuracy + 0.2


def test_the_gradient_does_not_depend_on_the_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the factor T^2: without it a gradient at T = 20 would be 400 times smaller than at T = 1."""
    norms: list[float] = []

    class _Measured:
        def step(self, gradients: list[object]) -> None:
            norms.append(float(sum(g.square().sum() for g in gradients) ** 0.5))  # type: ignore[attr-defined]

    monkeypatch.setattr(learner_module, "optimizer", lambda *arguments: _Measured())
    student, x = learner(), samples(1).x
    wanted = np.random.default_rng(0).normal(size=(len(x), CLASSES)).astype(np.float32)
    for temperature in (4.0, 20.0, 100.0):
        config = DistillConfig(temperature=temperature, steps=1, batch_size=200)
        opinion = softmax(wanted, temperature).astype(np.float32)
        student.imitate(student.initial(0), x, opinion, config, seed=0)
    assert max(norms) < 1.2 * min(norms)
