"""What a run sees of its data: the clients' streams, the truth about them, and what the server holds back.

    source ─> rows ─> held back: test, validation, proxy
                  └─> dealt out: shares ─> scenario: drift, order, arrival ─> Federation

Shapes of inputs: a row of numbers `(features,)`, an image `(channels, height, width)`, a window of a time
series `(1, time, features)`, a window of text `(symbols,)`, whose float32 values are whole numbers, codes of
a vocabulary of `Federation.classes` symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phloem.arrivals import STEADY, Arrivals


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Labelled samples in a fixed order: `x` float32 `(n, ...)`, `y` int64 `(n,)`.

    Those of a federation are read-only, as every client and the server share them:
    take a copy (`torch.tensor`, `np.array`) before changing one.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, where: slice | NDArray[np.intp]) -> Samples:
        """Return the samples at a slice (a view) or at an array of indices (a copy)."""
        return Samples(self.x[where], self.y[where])


class Feed(Protocol):
    """A stream that goes on after it was opened: a file that grows, a sensor."""

    def read(self, start: int, count: int) -> tuple[Samples, int]:
        """Return the good samples of rows `[start, start + count)`, and the row after the last one read.

        Rows count from 0, bad ones included. The same rows give the same samples, whoever asks again. Where
        there are fewer rows as yet, the row returned is before `start + count`, and where to go on later.
        """
        ...


@dataclass(frozen=True, slots=True)
class Drift:
    """A change that the scenario put into a client's stream: the truth that a detector is judged by.

    From sample `position` on the stream changes, from `end` on the new concept is in force alone; the two are
    the same where the change is abrupt. `kind` is `abrupt`, `gradual`, `incremental`, `recurring`, `classes`
    (a class appears, or the next task begins) or `burst` (one class dominates for a while, from `position` to
    `end`: the mix changes, what is right does not). `cause` is the step of the scenario, such as `swap`.
    """

    client: int
    position: int
    end: int
    kind: str
    cause: str


@dataclass(frozen=True, eq=False)
class Federation:
    """The data as a run sees it; the parts are disjoint.

    `shares[i]` is what client `i` receives, in order of arrival. `test` and
    `validation` are labelled and may be empty; `proxy` holds inputs `(n, ...)`
    for distillation, and no labels, as a server would not have them.
    """

    shares: tuple[Samples, ...]
    test: Samples
    validation: Samples
    proxy: NDArray[np.float32]
    classes: int
    input_shape: tuple[int, ...]
    feeds: tuple[Feed, ...] = ()
    """Where streams go on after they were opened: client i reads `feeds[i]`, and `shares[i]` may be empty."""
    label_delay: int = 0
    """The label of a sample is known when `label_delay` more samples of the client have arrived."""
    arrivals: Arrivals = STEADY
    """How many samples a client is given in a round."""
    scenario: str = ""
    """What was done to the shares, in the words of `data.scenario`; empty for nothing."""
    concepts: tuple[NDArray[np.int32], ...] = ()
    """The number of the concept under which each sample of each share was made; empty stands for all 0."""
    views: tuple[Callable[[Samples], Samples], ...] = ()
    """What each concept makes of unchanged samples such as `test`; empty stands for one, as they are."""
    drifts: tuple[Drift, ...] = ()
    """Every change of every client, in order of client and position."""
    dropped: tuple[NDArray[np.int64], ...] = ()
    """For each client the positions in its share before which a bad row was left out, one entry a row, in
    rising order; empty for none anywhere."""
    dropped_held_back: int = 0
    """Bad rows left out of test, validation and proxy."""
    class_names: tuple[str, ...] = ()
    client_names: tuple[str, ...] = ()

    @property
    def concept_count(self) -> int:
        """How many concepts there are, numbered from 0."""
        return max(1, len(self.views))

    def concept_at(self, client: int, position: int) -> int:
        """Return the concept in force at a position of a client's stream; past the end the share repeats."""
        if not self.concepts:
            return 0
        concepts = self.concepts[client]
        return int(concepts[position % len(concepts)]) if len(concepts) else 0

    def concept_test(self, concept: int) -> Samples:
        """Return the test set as that concept makes it, to measure accuracy under the concept in force.

        It may be smaller than `test`, and empty: a task's concept has that task's classes only.
        """
        return self.views[concept](self.test) if self.views else self.test
