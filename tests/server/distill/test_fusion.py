"""Distillation as a whole: what the clients know gets into the global model, and a bad outcome never does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.client import learner as learner_module
from phloem.client.learner import Learner
from phloem.compression.update import Update
from phloem.config import ClientConfig, DistillConfig, ModelConfig
from phloem.protocol import model_hash
from phloem.server.distill.fusion import distill
from phloem.server.distill.teacher import Teacher, softmax
from phloem.sources import Samples

CLASSES = 3
LEARNED = ClientConfig(epochs=20, learning_rate=0.05)


def learner() -> Learner:
    return Learner(ModelConfig(hidden=(16,)), (8,), CLASSES, "cpu")


def samples(seed: int, count: int = 200) -> Samples:
    """Three classes, each around a point of its own: easily told apart."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    return Samples((rng.normal(size=(count, 8)) + 3 * np.eye(8)[y]).astype(np.float32), y)


def taught_by(wrong: int) -> Update:
    """A model of the three classes, each label of which is so many too high."""
    student, seen = learner(), samples(2)
    return student.learn(student.initial(0), Samples(seen.x, (seen.y + wrong) % CLASSES), LEARNED, seed=2)


def teacher_of(weights: Update, **values: bool) -> Teacher:
    teacher = Teacher(learner(), samples(3).x, temperature=1.0, **values)  # type: ignore[arg-type]
    teacher.hear(weights, np.array([100, 100, 100]))
    return teacher


@pytest.mark.parametrize("label_weight", [0.0, 0.2])
def test_the_guard_keeps_the_average_when_the_proxy_is_bad(label_weight: float) -> None:
    """Protects against a teacher that is wrong, end to end: trained, tried, and not kept."""
    average = taught_by(wrong=0)
    config = DistillConfig(steps=200, label_weight=label_weight)
    outcome = distill(average, teacher_of(taught_by(wrong=1)), samples(4), config, seed=3)
    assert not outcome.kept
    assert outcome.after.accuracy < outcome.before.accuracy - 0.1
    assert outcome.model is average


@pytest.mark.parametrize("label_weight", [0.0, 0.2])
def test_a_good_teacher_makes_a_bad_average_better(label_weight: float) -> None:
    """Protects the point of it: what the clients know together gets into the global model."""
    average = learner().initial(0)
    config = DistillConfig(steps=200, label_weight=label_weight)
    outcome = distill(average, teacher_of(taught_by(wrong=0)), samples(4), config, seed=3)
    assert outcome.kept
    assert outcome.after.accuracy > outcome.before.accuracy + 0.2
    assert learner().score(outcome.model, samples(5)).accuracy > 0.8


def test_no_round_makes_the_judges_worse() -> None:
    """Protects the law of the guard over rounds: whoever teaches, accuracy on the judges only rises."""
    model, config = learner().initial(0), DistillConfig(steps=60)
    outcomes = []
    for seed, wrong in enumerate([1, 0, 2, 0, 1]):
        outcomes.append(distill(model, teacher_of(taught_by(wrong)), samples(4), config, seed=seed))
        model = outcomes[-1].model
    found = [(o.after if o.kept else o.before).accuracy for o in outcomes]
    assert all(later >= earlier for earlier, later in pairwise(found))
    assert any(outcome.kept for outcome in outcomes)
    assert not all(outcome.kept for outcome in outcomes)


def test_asked_by_a_generator_clients_teach_without_any_samples() -> None:
    """Protects the data-free way, end to end: only the range of the validation samples is used of them."""
    teacher = teacher_of(taught_by(wrong=0), remembers=True)
    config = DistillConfig(steps=200, proxy="generator", generator_steps=60, label_weight=0.0)
    first, again = (distill(learner().initial(0), teacher, samples(4), config, seed=3) for _ in range(2))
    assert first.kept
    assert first.after.accuracy > first.before.accuracy + 0.2
    assert model_hash(first.model) == model_hash(again.model)


def test_models_that_overflow_on_what_is_made_leave_the_average() -> None:
    """Protects a run from a hostile model: finite on real samples, and not on what the generator makes."""
    weights = {name: np.zeros_like(array) for name, array in learner().initial(0).items()}
    first, last = "hidden1.weight", "output.weight"
    weights[first], weights[last] = weights[first] + np.float32(1e30), weights[last] + np.float32(1e30)
    calm = Samples(-np.ones((60, 8), np.float32), np.arange(60, dtype=np.int64) % CLASSES)
    wide = replace(calm, x=np.where(np.arange(60)[:, None] == 0, -5, calm.x).astype(np.float32))
    teacher = Teacher(learner(), wide.x, temperature=1.0, remembers=True)
    teacher.hear(weights, np.array([20, 20, 20]))
    assert teacher.votes is not None, "where it is looked at it seems harmless"
    teacher.voters[0] = replace(teacher.voters[0], weights={**weights, first: -weights[first]})
    config = DistillConfig(steps=5, proxy="generator", generator_steps=10)
    average = learner().initial(0)
    found = distill(average, teacher, wide, config, seed=3)
    assert (found.kept, model_hash(found.model)) == (False, model_hash(average))


def opinion(seed: int = 0) -> NDArray[np.float32]:
    return softmax(np.random.default_rng(seed).normal(size=(200, CLASSES)), 1.0).astype(np.float32)


def test_labels_of_no_weight_change_no_bit() -> None:
    """Protects those who have no labels: with and without any, the student is the same to the bit."""
    student, x, lessons = learner(), samples(1).x, samples(6, 40)
    off, on = DistillConfig(steps=20, label_weight=0.0), DistillConfig(steps=20, label_weight=0.5)
    start = student.initial(0)
    bare = model_hash(student.imitate(start, x, opinion(), off, 1))
    assert model_hash(student.imitate(start, x, opinion(), off, 1, lessons)) == bare
    assert model_hash(student.imitate(start, x, opinion(), on, 1)) == bare, "no labels: nothing is weighed"
    assert model_hash(student.imitate(start, x, opinion(), on, 1, lessons)) != bare


def test_labels_teach_what_the_teacher_has_wrong() -> None:
    """Protects the labelled term: the more it weighs, the nearer the student is to the labels."""
    student, seen, wrong = learner(), samples(1), teacher_of(taught_by(wrong=1))
    found = []
    for weight in (0.0, 0.5, 0.99):
        config = DistillConfig(steps=200, label_weight=weight)
        weights = student.imitate(student.initial(0), wrong.proxy, wrong.opinion(), config, 1, seen)
        found.append(student.score(weights, samples(5)).loss)
    assert found[0] > found[1] > found[2]


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
        softened = softmax(wanted, temperature).astype(np.float32)
        student.imitate(student.initial(0), x, softened, config, seed=0)
    assert max(norms) < 1.2 * min(norms)
