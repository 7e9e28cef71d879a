"""Plays a scenario on a federation: the shares change, and the truth about them is written down.

    order ─> levels of each change at each position ─> concepts ─> samples as each concept makes them

A concept is a combination of levels that occurs: equal numbers, equal laws. They are numbered in rising order
of their levels, so that 0 is the one before any change, where there is one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phloem.arrivals import Arrivals
from phloem.errors import DataError
from phloem.federation import Drift, Federation, Samples
from phloem.scenario import Scenario
from phloem.seeds import derive
from phloem.simulation.data.changes import levels, top_level
from phloem.simulation.data.orders import appearing, in_bursts, in_tasks, moment
from phloem.simulation.data.views import Play, View, lasting
from phloem.steps import (
    Appear,
    Burst,
    Change,
    LabelDelay,
    Poisson,
    Rotate,
    Rush,
    Shift,
    Slow,
    Stagger,
    Swap,
    Tasks,
)

Columns = list[NDArray[np.int64]]


def play(
    federation: Federation,
    scenario: Scenario,
    seed: int,
    *,
    inputs: Literal["numbers", "series", "symbols"] = "numbers",
) -> Federation:
    """Return the federation after the scenario, with its truth; unchanged where there is none.

    Raises:
        DataError: a step does not suit such data.
    """
    if not scenario.steps:
        return federation
    _check(federation, scenario, inputs)
    delay = scenario.one(LabelDelay)
    federation = replace(
        federation,
        scenario=str(scenario),
        label_delay=delay.samples if delay else 0,
        arrivals=arrivals(scenario, seed),
    )
    if not any(isinstance(step, Change | Tasks | Appear | Burst) for step in scenario.steps):
        return federation
    found = Play(scenario, seed, federation.classes, len(federation.shares), _spread(federation.shares))
    played = [_client(found, client, share) for client, share in enumerate(federation.shares)]
    federation = replace(
        federation,
        shares=tuple(share for share, _, _ in played),
        drifts=tuple(drift for _, _, drifts in played for drift in drifts),
    )
    if not lasting(scenario):
        return federation
    states = np.concatenate([states for _, states, _ in played])
    known, number = np.unique(states, axis=0, return_inverse=True)
    bounds = np.cumsum([len(share) for share in federation.shares])[:-1]
    return replace(
        federation,
        concepts=tuple(np.split(number.reshape(-1).astype(np.int32), bounds)),
        views=tuple(View(found, tuple(map(int, row))) for row in known),
    )


def arrivals(scenario: Scenario, seed: int) -> Arrivals:
    """Return the law of arrival that the scenario's steps make."""
    rush, slow = scenario.one(Rush), scenario.one(Slow)
    return Arrivals(
        seed=derive(seed, "arrivals"),
        poisson=scenario.one(Poisson) is not None,
        rush=rush.factor if rush else 1.0,
        every=rush.every if rush else 0,
        slow=slow.factor if slow else 1.0,
        slow_clients=slow.clients if slow else 0.0,
    )


def _client(play: Play, client: int, share: Samples) -> tuple[Samples, NDArray[np.int64], list[Drift]]:
    """Return a client's new share, the states `(n, steps)` of what lasts, and its drifts."""
    length, later = len(share), play.later(client, len(share))
    drifts: list[Drift] = []
    states: Columns = []
    for place, step in enumerate(play.scenario.steps):
        order, kept = np.arange(length), list[tuple[int, int, str]]()
        if isinstance(step, Burst):
            order, bursts = in_bursts(share.y, step, play.rng(place, "burst", client))
            kept = [(each.position, each.end, "burst") for each in bursts]
        elif isinstance(step, Tasks):
            tasks = play.tasks(place, step)
            order, begins = in_tasks(share.y, tasks)
            kept = [(each.position, each.end, "classes") for each in begins]
            states.append(tasks[share.y])
        elif isinstance(step, Appear):
            late = play.late(place, step)
            at = min(moment(step.at, length) + later, length)
            order, at = appearing(share.y, late, at, play.rng(place, "appear", client))
            kept = [(at, at, "classes")] if 0 < at < length else []
            states.append(np.zeros(length, np.int64))
            states[-1][order[at:]] = 1
        share, states = share.take(order), [column[order] for column in states]
        drifts += [Drift(client, start, end, kind, step.name) for start, end, kind in kept]
    columns = iter(states)
    every: Columns = []
    for place, step in lasting(play.scenario):
        if not isinstance(step, Change):
            every.append(next(columns))
            continue
        share, state, found = _change(play, place, step, client, share, later)
        every.append(state)
        drifts += found
    drifts.sort(key=lambda drift: drift.position)
    matrix = np.stack(every, axis=1) if every else np.zeros((length, 0), np.int64)
    return share, matrix, drifts


def _change(
    play: Play, place: int, step: Change, client: int, share: Samples, later: int
) -> tuple[Samples, NDArray[np.int64], list[Drift]]:
    if not play.happens_to(place, step, client):
        return share, np.zeros(len(share), np.int64), []
    level, moments = levels(step, len(share), later, play.rng(place, "levels", client))
    own = isinstance(step, Shift) and step.by == "client"
    state = np.where(level > 0, level + (client * top_level(step) if own else 0), 0)
    x, y = share.x.copy(), share.y.copy()
    for value in np.unique(state):
        rows = np.flatnonzero(state == value)
        part = play.changed(place, step, share.take(rows), int(value), "share", client)
        x[rows], y[rows] = part.x, part.y
    # Where a client has none of the classes whose labels are permuted, nothing happens to it.
    touched = not isinstance(step, Swap) or bool((y != share.y).any())
    drifts = [Drift(client, each.position, each.end, step.kind, step.name) for each in moments if touched]
    return Samples(x, y), state, drifts


def _spread(shares: tuple[Samples, ...]) -> float:
    """Return the standard deviation of the inputs, over the first of each share."""
    return float(np.std(np.concatenate([share.x[:256].reshape(-1) for share in shares]), dtype=np.float64))


def _check(federation: Federation, scenario: Scenario, inputs: str) -> None:
    for step in scenario.steps:
        if federation.feeds and isinstance(step, Change | Tasks | Appear | Burst | Stagger):
            raise DataError(
                f"`{step.name}` should find all samples there to change them. Found a stream that goes on. "
                "Use only label_delay, poisson, rush and slow with it."
            )
        images = len(federation.input_shape) == 3 and inputs == "numbers"
        if (isinstance(step, Rotate) and not images) or (isinstance(step, Shift) and inputs == "symbols"):
            raise DataError(
                f"`{step.name}` should have {'images' if step.name == 'rotate' else 'numbers'} as inputs. "
                f"Found {inputs} of shape {federation.input_shape}. Use another step."
            )
