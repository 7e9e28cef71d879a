"""The source `stream:MODULE:FUNCTION`: a Python generator, as a device feeds what its sensor says.

The function is called with a client's number and the row at which to begin, and yields `(x, y)`, or rows of
numbers of which the last is the label, for as long as there are some:

    def readings(client, start):
        for row in itertools.count(start):
            yield sensor.read(), sensor.label()

One that can go back, such as of recorded data, begins at `start`; a sensor, which cannot, ignores it. It is
called when samples are first asked for, in the client's own process. `data.classes` says how many classes
there are; `data.shape` says what an input looks like, so that a server need not open a sensor to find out.
There are no test, validation and proxy samples: what a model is worth is seen by predicting before
learning.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Federation, Samples
from phloem.references import load_reference
from phloem.scenario import scenario
from phloem.simulation.data.play import play
from phloem.simulation.data.table import NO_LABEL
from phloem.sources import raised

KEPT = 4096
"""Rows that are kept to be read again: an instruction may come twice, and a label late."""

Opened = Callable[[int, int], Iterator[Any]]
Row = tuple[NDArray[np.float32], int]


@dataclass(eq=False)
class SensorFeed:
    """A client's generator, opened when it is first read, and its last rows."""

    open: Opened
    client: int
    shape: tuple[int, ...]
    classes: int
    refuse: bool
    where: str
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    following: int = 0
    """The number of the row that comes next."""
    source: Iterator[Any] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, start: int, count: int) -> tuple[Samples, int]:
        """Return the good samples of rows `[start, start + count)`, fewer where the generator ends.

        Rows that are not kept any more are asked of the generator again, from `start` on.

        Raises:
            DataError: it raises, or what it yields is no sample, or a bad one and those are refused.
        """
        with self.lock:
            if self.source is None or not self.following - len(self.rows) <= start <= self.following:
                self.source = opened(self.open, self.client, start, self.where)
                self.rows.clear()
                self.following = start
            while self.following < start + count:
                try:
                    found = following(self.source, self.where)
                except DataError:
                    self.source = None  # what has raised is at its end: the next reading opens another
                    raise
                if found is None:
                    break
                self.rows.append(self._row(found))
                self.following += 1
            first = self.following - len(self.rows)
            wanted = [
                self.rows[i - first] for i in range(max(start, first), min(start + count, self.following))
            ]
        good = [row for row in wanted if row[1] != NO_LABEL]
        x = np.stack([row[0] for row in good]) if good else np.zeros((0, *self.shape), np.float32)
        return Samples(x, np.array([row[1] for row in good], np.int64)), start + len(wanted)

    def _row(self, found: Any) -> Row:
        """Return a sample, with the label `NO_LABEL` if it is bad and those are dropped."""
        x, y = sample_of(found, self.where)
        if x.shape != self.shape:
            raise DataError(
                f"{self.where} should yield inputs of shape {self.shape}. Found {x.shape}. "
                "Yield them all alike, or set `data.shape`."
            )
        if np.isfinite(x).all() and 0 <= y < self.classes and y == int(y):
            return x, int(y)
        if self.refuse:
            raise DataError(
                f"{self.where} should yield finite inputs and labels in 0..{self.classes - 1}. Found a bad "
                "row, "
                f"number {self.following}, with the label {y:g}. Mend it, or set `data.bad_rows` to 'drop'."
            )
        return x, NO_LABEL


def sample_of(found: Any, where: str) -> tuple[NDArray[np.float32], float]:
    """Return the input and the label of what a generator yields; a label that is no number is NaN.

    Raises:
        DataError: it is neither a pair nor a row of numbers.
    """
    try:
        x, y = (found[0], found[1]) if len(found) == 2 else (found[:-1], found[-1])
        with np.errstate(over="ignore"):
            inputs = np.atleast_1d(np.asarray(x, np.float32))
        label = float(y)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"{where} should yield (x, y), or rows of numbers of which the last is the label. Found "
            f"{type(found).__name__}: {error}. Change what it yields."
        ) from error
    return inputs, label


def opened(function: Opened, client: int, start: int, where: str) -> Iterator[Any]:
    """Call the user's function.

    Raises:
        DataError: it raised, or returns nothing that can be gone through.
    """
    try:
        return iter(function(client, start))
    except Exception as error:
        raise DataError(
            f"{where} should be a generator of samples, called with a client's number and a first row. "
            f"Found that it raised {raised(error)}. Correct it there."
        ) from error


def following(source: Iterator[Any], where: str) -> Any:
    """Return what the user's generator yields next; None at its end.

    Raises:
        DataError: it raised.
    """
    try:
        return next(source, None)
    except Exception as error:
        raise DataError(
            f"{where} should yield samples for as long as there are some. Found that it raised "
            f"{raised(error)}. Correct it there."
        ) from error


def federate_sensors(data: DataConfig, seed: int) -> Federation:
    """Build a federation whose clients read a generator each.

    Raises:
        ConfigError: the reference names no function.
        DataError: `data.classes` or `data.clients` is not set, or the generator yields nothing to look at.
    """
    reference = data.source.partition(":")[2]
    function = load_reference(reference)
    if data.classes < 2 or data.clients < 1:
        raise DataError(
            "`data.classes` should be 2 or more and `data.clients` 1 or more for a generator. Found "
            f"{data.classes} and {data.clients}. Set both."
        )
    shape = tuple(data.shape) or _first_shape(function, reference)
    nothing = Samples(np.zeros((0, *shape), np.float32), np.zeros(0, np.int64))
    federation = Federation(
        shares=(nothing,) * data.clients,
        test=nothing,
        validation=nothing,
        proxy=nothing.x,
        classes=data.classes,
        input_shape=shape,
        feeds=tuple(
            SensorFeed(function, client, shape, data.classes, data.bad_rows == "refuse", reference)
            for client in range(data.clients)
        ),
    )
    played = play(federation, scenario(data.scenario), seed)
    for feed in played.feeds:
        assert isinstance(feed, SensorFeed)
        feed.rows = deque(maxlen=KEPT + played.label_delay)
    return played


def _first_shape(function: Opened, reference: str) -> tuple[int, ...]:
    found = following(opened(function, 0, 0, reference), reference)
    if found is None:
        raise DataError(
            f"{reference!r} should yield a sample to see what one looks like. Found none. Set `data.shape`."
        )
    return sample_of(found, reference)[0].shape
