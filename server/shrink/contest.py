"""Which student is worth a whole education: all of a size have a short one, the best goes on to a long one.

The candidates are the teacher without most of its channels, and the widest of each family that fits. A
student so small is held back by its size rather than by how long it learns, so a short education tells them
apart (successive halving: Jamieson & Talwalkar 2016, arXiv 1502.07943).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch
from torch import nn

from phloem.errors import ConfigError
from phloem.seeds import derive
from phloem.server.shrink.lessons import divergence, teach
from phloem.server.shrink.network import predict
from phloem.server.shrink.slim import slimmed
from phloem.server.shrink.students import FAMILIES, fitting
from phloem.server.shrink.trial import Task

KINDS = ("slim", *FAMILIES)

SHORT = 6
"""How many times shorter the education is that decides."""


def best_student(task: Task, budget: int, kinds: Collection[str] = KINDS) -> tuple[str, nn.Module]:
    """Return a student of at most `budget` weights, taught, and its name: the same for the same task.

    The candidate goes on whose answers on the validation inputs diverge least from the teacher's.

    `kinds` are the candidates to consider; a single one has no contest to win.

    Raises:
        ConfigError: not even the narrowest fits.
    """
    short = replace(task.lesson, steps=max(1, task.lesson.steps // SHORT))
    wanted = torch.tensor(predict(task.teacher, task.validation.x))
    judged: list[tuple[float, str, nn.Module]] = []
    found = [one for one in candidates(task, budget) if one[0].partition(":")[0] in kinds]
    for name, untaught in found if len(found) > 1 else ():
        tried = copy.deepcopy(untaught)
        teach(tried, task.questions, short, seed=derive(task.seed, "student", name))
        answer = torch.tensor(predict(tried, task.validation.x))
        judged.append((float(divergence(answer, wanted, 1.0)), name, untaught))
    _, name, chosen = min(judged, key=lambda one: one[:2]) if judged else (0.0, *found[0])
    teach(chosen, task.questions, task.lesson, seed=derive(task.seed, "student", name))
    return name, chosen


def candidates(task: Task, budget: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield untaught students by name: the slim teacher, where it can be pruned, and the families."""
    try:
        slim = slimmed(task.teacher, budget, task.inputs, seed=task.seed)
    except ConfigError:  # a network whose channels cannot be traced still has students of other kinds
        slim = None
    if slim is not None:
        yield "slim", slim
    shape, classes = task.inputs.shape[1:], task.questions.logits.shape[1]
    try:
        families = fitting(shape, classes, budget)
    except ConfigError:
        if slim is None:
            raise
        families = []
    for kind in families:
        yield str(kind), kind.build(shape, classes, seed=derive(task.seed, "student"))
