"""Lessons teach, the loss is the literature's, and the same seed gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phloem.server.shrink.lessons import Lesson, ask, divergence, teach
from phloem.server.shrink.network import predict, weights_of
from phloem.server.shrink.quality import agreement
from phloem.server.shrink.students import Student, fitting
from tests.server.shrink.networks import SHAPE, images, normed


def test_a_student_comes_to_agree_with_its_teacher() -> None:
    """From unlabelled inputs alone, and on others than it was taught on."""
    teacher, asked = normed(), images(400, seed=1)
    questions = ask(teacher, images(300), count=2000, seed=1)
    student = Student("conv", 16).build(SHAPE, 10, seed=1)
    before = agreement(predict(student, asked), predict(teacher, asked))
    teach(student, questions, Lesson(steps=150, learning_rate=0.01), seed=1)
    after = agreement(predict(student, asked), predict(teacher, asked))
    assert after > max(before, 0.5)


def test_the_same_seed_gives_the_same_bits() -> None:
    """Questions and lessons draw from the seed alone, whatever the number of threads."""
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        questions = ask(normed(), images(50), count=200, seed=3)
        student = Student("depthwise", 4).build(SHAPE, 10, seed=3)
        teach(student, questions, Lesson(steps=5), seed=3)
        made.append((questions.x, weights_of(student)))
    torch.set_num_threads(1)
    assert (made[0][0] == made[1][0]).all()
    assert all((tensor == made[1][1][name]).all() for name, tensor in made[0][1].items())


def test_the_square_of_the_temperature_keeps_the_gradient_in_size() -> None:
    """Without T^2 it would be 64 times smaller at T = 8 than at T = 1; the articles leave it out."""
    torch.manual_seed(0)
    wanted = torch.randn(500, 10) / 4
    sizes = {}
    for temperature in (1.0, 8.0):
        answer = torch.zeros(500, 10, requires_grad=True)
        divergence(answer, wanted, temperature).backward()  # type: ignore[no-untyped-call]
        assert answer.grad is not None
        sizes[temperature] = float(answer.grad.norm())
    assert sizes[8.0] == pytest.approx(sizes[1.0], rel=0.1)


def test_a_teacher_that_agrees_costs_nothing() -> None:
    """KL of equal answers is zero, at any temperature."""
    logits = torch.randn(5, 10)
    assert float(divergence(logits, logits, 3.0)) == pytest.approx(0, abs=1e-6)


def test_questions_are_inputs_moved_or_mixed() -> None:
    """Within the inputs' range, as many as asked for, and answered by the teacher."""
    questions = ask(normed(), images(30), count=100, seed=1)
    assert questions.x.shape == (100, *SHAPE)
    assert questions.x.dtype == np.float32
    assert 0 <= questions.x.min() <= questions.x.max() <= 1
    np.testing.assert_allclose(questions.logits, predict(normed(), questions.x), atol=1e-6)


@pytest.mark.parametrize(("shape", "families"), [(SHAPE, {"conv", "depthwise", "mlp"}), ((20,), {"mlp"})])
def test_students_keep_to_their_budget_and_use_it(shape: tuple[int, ...], families: set[str]) -> None:
    """The widest of each family that fits: one unit more would not."""
    from phloem.server.shrink.network import folded, parameters

    found = fitting(shape, 10, 3000)
    assert {student.family for student in found} == families
    for student in found:
        wider = Student(student.family, student.width + 1)
        sizes = [parameters(folded(one.build(shape, 10, seed=0))) for one in (student, wider)]
        assert sizes[0] <= 3000 < sizes[1]
