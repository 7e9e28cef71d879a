"""Students keep to their size, begin as their teacher where that helps, and the better one is taught."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("torch_pruning", reason='needs the extra: pip install "phloem[shrink]"')

from phloem.errors import ConfigError
from phloem.server.shrink.contest import best_student, candidates
from phloem.server.shrink.lessons import Lesson, Questions, ask
from phloem.server.shrink.network import folded, parameters, predict, weights_of
from phloem.server.shrink.quality import agreement
from phloem.server.shrink.slim import slimmed
from phloem.server.shrink.trial import Task
from phloem.sources import Samples
from tests.server.shrink.networks import images, normed, trained_run


def task(teacher: torch.nn.Module, steps: int = 40) -> Task:
    """A task on digits, whose labels are the teacher's own answers."""
    run = trained_run()
    judged = Samples(run.validation.x, predict(teacher, run.validation.x).argmax(1))
    questions = ask(teacher, run.proxy, count=1000, seed=1)
    return Task(teacher, questions, run.proxy, judged, Lesson(steps, learning_rate=0.01), 1)


@pytest.mark.parametrize("budget", [300, 1000, 3000])
def test_a_slim_teacher_fills_its_budget(budget: int) -> None:
    """Never above, and not more than a few channels below; the teacher stays as it was."""
    teacher = normed()
    before = weights_of(teacher)
    slim = slimmed(teacher, budget, images(20), seed=1)
    assert slim is not None
    assert 0.75 * budget <= parameters(folded(slim)) <= budget
    assert all((tensor == before[name]).all() for name, tensor in weights_of(teacher).items())


def test_a_budget_below_a_channel_a_layer_has_no_slim_teacher() -> None:
    """Where the other families find no room either, that is said."""
    teacher = normed()
    assert slimmed(teacher, 20, images(20), seed=1) is None
    with pytest.raises(ConfigError, match="at least one unit a layer"):
        best_student(task(teacher), 20)


def test_the_best_student_is_taught_and_the_same_for_the_same_task() -> None:
    """It keeps to its size, and comes to agree with a teacher that knows the digits."""
    teacher = trained_run().network
    made = [best_student(task(teacher, steps=120), 1200) for _ in "ab"]
    assert made[0][0] == made[1][0]
    first, again = (weights_of(network) for _, network in made)
    assert all((tensor == again[name]).all() for name, tensor in first.items())
    name, student = made[0]
    untaught = dict(candidates(task(teacher), 1200))
    assert {"slim", name} <= untaught.keys()
    assert parameters(folded(student)) <= 1200
    x = trained_run().test.x
    after, before = (agreement(predict(one, x), predict(teacher, x)) for one in (student, untaught[name]))
    assert after > max(before, 0.6)


def test_a_teacher_that_cannot_be_pruned_still_has_students() -> None:
    """Its channels cannot be traced, so the families alone compete."""

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)
            self.output = torch.nn.Linear(8 * 64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.output(self.conv(x).reshape(len(x), 8 * 64))
            return found

    found = dict(candidates(task(Counting().eval()), 1500))
    assert "slim" not in found
    assert found


def test_lessons_leave_weights_in_the_usual_order_in_memory() -> None:
    """What is saved or exported next must not depend on how it was taught."""
    asked: Questions = ask(normed(), images(30), count=64, seed=1)
    from phloem.server.shrink.lessons import teach

    student = normed(1)
    teach(student, asked, Lesson(steps=2), seed=1)
    assert all(parameter.is_contiguous() for parameter in student.parameters())
