"""What a scenario does to the order in which a client's samples come: none is lost, none comes twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.simulation.data.partitions import Rows
from phloem.steps import Appear, Burst, Tasks

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in a client's stream at which something changes, until `end`."""

    position: int
    end: int


def moment(value: float, length: int) -> int:
    """Return a moment or a length of time in samples: below 1 it is a share of the stream."""
    return round(value * length) if value < 1 else round(value)


def task_of(step: Tasks, classes: int, rng: np.random.Generator) -> Labels:
    """Return each class's task, `(classes,)`.

    Raises:
        DataError: there are fewer classes than tasks.
    """
    if step.count > classes:
        raise DataError(
            f"`tasks` should be at most as many as the classes, {classes}. Found {step.count}. Lower it."
        )
    order = rng.permutation(classes) if step.order == "drawn" else np.arange(classes)
    tasks = np.empty(classes, np.int64)
    for task, part in enumerate(np.array_split(order, step.count)):
        tasks[part] = task
    return tasks


def in_tasks(y: Labels, tasks: Labels) -> tuple[Rows, list[Moment]]:
    """Return the order in which the samples come task by task, and where a task begins."""
    order = np.argsort(tasks[y], kind="stable")
    begins = np.flatnonzero(np.diff(tasks[y][order])) + 1
    return order, [Moment(int(where), int(where)) for where in begins]


def late_classes(step: Appear, classes: int, rng: np.random.Generator) -> Labels:
    """Return the classes that do not come before their moment.

    Raises:
        DataError: no class would be left before it.
    """
    if step.count >= classes:
        raise DataError(
            f"`appear` should leave a class to begin with, of {classes}. Found {step.count}. Lower it."
        )
    return np.sort(rng.permutation(classes)[: step.count])


def appearing(y: Labels, late: Labels, at: int, rng: np.random.Generator) -> tuple[Rows, int]:
    """Return an order in which the late classes come from `at` on, evenly spread, and where that is.

    The others keep their order, and the late ones theirs. Where the others do not last until `at`, it is
    where they end.
    """
    is_late = np.isin(y, late)
    others, later = np.flatnonzero(~is_late), np.flatnonzero(is_late)
    at = min(at, len(others))
    slots = np.sort(rng.permutation(len(y) - at)[: len(later)]) + at
    order = np.empty(len(y), np.intp)
    order[slots] = later
    order[np.setdiff1d(np.arange(len(y)), slots)] = others
    return order, at


def in_bursts(y: Labels, step: Burst, rng: np.random.Generator) -> tuple[Rows, list[Moment]]:
    """Return an order with bursts of one class, drawn by what is left of each, and where they are.

    Within a burst the order is drawn; outside, samples keep theirs. A burst takes what there is of its class.
    """
    left = {int(label): list(np.flatnonzero(y == label)[::-1]) for label in np.unique(y)}
    free = np.ones(len(y), np.bool_)
    order: list[int] = []
    bursts: list[Moment] = []
    following = 0

    def ahead(count: int) -> list[int]:
        nonlocal following
        taken: list[int] = []
        while len(taken) < count and following < len(y):
            if free[following]:
                free[following] = False
                taken.append(following)
            following += 1
        return taken

    while len(order) + step.every <= len(y):
        order += ahead(step.every - step.length)
        for label, rows in left.items():
            left[label] = [row for row in rows if free[row]]
        counts = np.array([len(rows) for rows in left.values()], np.float64)
        label = int(rng.choice(list(left), p=counts / counts.sum()))
        own = [
            int(left[label].pop()) for _ in range(min(round(step.strength * step.length), len(left[label])))
        ]
        free[own] = False
        burst = np.array([*own, *ahead(step.length - len(own))])
        bursts.append(Moment(len(order), len(order) + step.length))
        order += rng.permutation(burst).tolist()
    order += ahead(len(y))
    return np.array(order, np.intp), bursts
