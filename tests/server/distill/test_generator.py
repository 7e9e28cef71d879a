"""What a generator asks about: in the range of the data, of every class, the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.client.learner import Learner
from phloem.config import ClientConfig, DistillConfig, ModelConfig
from phloem.server.distill.generator import BATCH, generate
from phloem.server.distill.teacher import Teacher, Voter
from phloem.sources import Samples

CLASSES, SHAPE = 3, (2, 4)
CONFIG = DistillConfig(proxy="generator", generator_steps=80)


def learner() -> Learner:
    return Learner(ModelConfig(hidden=(16,)), SHAPE, CLASSES, "cpu")


def samples(seed: int, *of: int) -> Samples:
    """Three classes, each around a point of its own; those in `of` only."""
    rng = np.random.default_rng(seed)
    y = rng.choice(of, 200)
    points = np.eye(8).reshape(8, *SHAPE)
    return Samples((rng.normal(size=(200, *SHAPE)) + 3 * points[y]).astype(np.float32), y)


def voters() -> list[Voter]:
    """Two clients, each of which saw two classes of three."""
    student, config = learner(), ClientConfig(epochs=10, learning_rate=0.05)
    found = []
    for seed, classes in enumerate([(0, 1), (1, 2)]):
        seen = samples(seed, *classes)
        weights = student.learn(student.initial(0), seen, config, seed=seed)
        found.append(Voter(student, weights, np.bincount(seen.y, minlength=CLASSES).astype(np.float64)))
    return found


def test_it_asks_within_the_range_of_the_data_and_about_every_class() -> None:
    """Protects the student: it learns of inputs such as there are, and of no class too little."""
    like = samples(9, 0, 1, 2).x
    found = generate(learner().initial(0), learner(), voters(), like, CONFIG, seed=1)
    assert found.shape == (CONFIG.generator_steps // 2 * BATCH, *SHAPE)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert (found >= like.min(axis=0) - 1e-4).all()
    assert (found <= like.max(axis=0) + 1e-4).all()
    teacher = Teacher(learner(), found, 1.0)
    for voter in voters():
        teacher.hear(voter.weights, voter.counts)
    share = np.bincount(teacher.opinion().argmax(1), minlength=CLASSES) / len(found)
    assert (share > 0.1).all()


def test_the_same_seed_asks_the_same() -> None:
    """Protects reproducible runs: to the bit, whatever torch drew before; another seed asks otherwise."""
    like, heard = samples(9, 0, 1, 2).x, voters()
    seeds = (1, 1, 2)
    found = [generate(learner().initial(0), learner(), heard, like, CONFIG, seed=seed) for seed in seeds]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_nobody_is_changed_by_being_asked() -> None:
    """Protects the clients' models and the average: the generator's training leaves no trace in them."""
    heard, average = voters(), learner().initial(0)
    before = [{name: array.copy() for name, array in each.items()} for each in (heard[0].weights, average)]
    generate(average, learner(), heard, samples(9, 0, 1, 2).x, CONFIG, seed=1)
    for kept, now in zip(before, (heard[0].weights, average), strict=True):
        for name, array in kept.items():
            np.testing.assert_array_equal(now[name], array)


@pytest.mark.parametrize("steps", [10, 30])
def test_the_more_steps_the_more_questions(steps: int) -> None:
    """Protects the setting that says what it costs."""
    config = DistillConfig(generator_steps=steps)
    found = generate(learner().initial(0), learner(), voters(), samples(9, 0, 1, 2).x, config, seed=1)
    assert len(found) == steps // 2 * BATCH
