"""What a scenario draws once for all clients, and what each of its concepts makes of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.federation import Samples
from phloem.scenario import Scenario
from phloem.seeds import generator
from phloem.simulation.data.changes import alter, amount, permuted_labels, top_level
from phloem.simulation.data.orders import late_classes, task_of
from phloem.steps import Appear, Change, Ranged, Stagger, Swap, Tasks


@dataclass(frozen=True, eq=False)
class Play:
    """A scenario, and what is drawn once for all clients."""

    scenario: Scenario
    seed: int
    classes: int
    clients: int
    spread: float
    """The standard deviation of the inputs, the unit of noise."""

    def rng(self, place: int, *purpose: str | int) -> np.random.Generator:
        """Return the generator of the step at a place, for a purpose."""
        return generator(self.seed, "scenario", place, *purpose)

    def tasks(self, place: int, step: Tasks) -> NDArray[np.int64]:
        """Return each class's task."""
        return task_of(step, self.classes, self.rng(place, "tasks"))

    def late(self, place: int, step: Appear) -> NDArray[np.int64]:
        """Return the classes that come late."""
        return late_classes(step, self.classes, self.rng(place, "late"))

    def happens_to(self, place: int, step: Change, client: int) -> bool:
        """Tell whether a change happens to a client."""
        order = self.rng(place, "clients").permutation(self.clients)
        return client in order[: round(step.clients * self.clients)]

    def later(self, client: int, length: int) -> int:
        """Return by how many samples a client's moments come later."""
        stagger = self.scenario.one(Stagger)
        if stagger is None:
            return 0
        place = self.scenario.steps.index(stagger)
        ranks = self.rng(place, "ranks").permutation(self.clients)
        return round(stagger.spread * length * float(ranks[client]) / max(1, self.clients - 1))

    def changed(self, place: int, step: Change, samples: Samples, state: int, *use: str | int) -> Samples:
        """Return samples under a change's state, which is a level, or client * levels + level."""
        if state == 0:
            return samples
        if isinstance(step, Swap):
            return Samples(
                samples.x, permuted_labels(step, self.classes, self.rng(place, "labels"))[samples.y]
            )
        client, level = divmod(state - 1, top_level(step))
        part = (level + 1) / top_level(step)
        size = amount(step, float(self.rng(place, "amount", client).random()))
        # A factor grows by powers, so that half of the way is its root; the others grow evenly.
        size = size**part if step.name == "gain" else size * part
        rng = self.rng(place, "noise", state, *use)
        return Samples(alter(step, samples, size, self.spread, rng), samples.y)


@dataclass(frozen=True, eq=False)
class View:
    """What a concept makes of samples that nothing has happened to."""

    play: Play
    states: tuple[int, ...]

    def __call__(self, samples: Samples) -> Samples:
        """Leave out the classes that the concept does not have, and change the rest."""
        kept = np.ones(len(samples), np.bool_)
        for (place, step), state in zip(lasting(self.play.scenario), self.states, strict=True):
            if isinstance(step, Tasks):
                kept &= self.play.tasks(place, step)[samples.y] == state
            elif isinstance(step, Appear) and not state:
                kept &= ~np.isin(samples.y, self.play.late(place, step))
        seen = samples.take(np.flatnonzero(kept))
        for (place, step), state in zip(lasting(self.play.scenario), self.states, strict=True):
            if isinstance(step, Change):
                seen = self.play.changed(place, step, seen, state, "view")
        return seen


def lasting(scenario: Scenario) -> list[tuple[int, Ranged]]:
    """Return the steps that make concepts, and their places: those of order first, as samples move first."""
    steps = list(enumerate(scenario.steps))
    orders = [(place, step) for place, step in steps if isinstance(step, Tasks | Appear)]
    return orders + [(place, step) for place, step in steps if isinstance(step, Change)]
