"""From a source's rows to a federation.

    load ─> bad rows found ─> hold back ─> deal out ─> scale ─> bad rows left out ─> scenario

What is held back is cut before the partition, so no client ever sees it. Both draws come from the run's
seed, each with its own generator: a change of the partition does not move the test set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Federation, Feed, Samples
from phloem.scenario import Scenario, scenario
from phloem.seeds import generator
from phloem.simulation.data.follow import Scaled, followed
from phloem.simulation.data.holdout import Held, hold_out
from phloem.simulation.data.loaders import load
from phloem.simulation.data.partitions import Partition, Rows, partition
from phloem.simulation.data.play import play
from phloem.simulation.data.scaling import Scale, fit
from phloem.simulation.data.table import NO_LABEL, Table, finite_rows, refuse_rows
from phloem.steps import LabelDelay


def federate(data: DataConfig, seed: int) -> Federation:
    """Build the federation of a source that is a table.

    Raises:
        DataError: see the source's loader, `hold_out` and `Partition.deal`; or there are bad rows that should
            be refused.
    """
    plan = partition(data.partition)
    table = load(data, plan.ids_name)
    if data.rows:
        table = table.take(slice(0, data.rows))
    if data.classes:
        table = replace(table, class_count=data.classes)
    table = replace(table, y=_known(table.y, data.classes), test=_known_test(table.test, data.classes))
    held = hold_out(table, data, generator(seed, "hold back"), natural=plan.name == "natural")
    scale = _scale(table, data, held.rest)
    scaled = scale.apply if scale else as_they_are
    names = _names(table, plan, held)
    if data.follow:
        clients = names or tuple(map(str, range(data.clients)))
        feeds = _followed(data, plan, clients, scaled, table.classes)
        shares: tuple[Rows, ...] = (held.rest[:0],) * len(feeds)
    else:
        feeds, shares = (), _deal(table, plan, held, data, generator(seed, "partition"))
    test = table.test and replace(table.test, x=scaled(table.test.x))
    table = replace(table, x=scaled(table.x), test=test)
    good = _good(table, data.bad_rows, data.source, data.classes)
    federation = replace(_federation(table, held, shares, good), feeds=feeds, client_names=names)
    return play(federation, _steps(data), seed, inputs=table.inputs)


def as_they_are(x: NDArray[Any]) -> NDArray[Any]:
    """Return inputs that need no scaling."""
    return x


def _followed(
    data: DataConfig, plan: Partition, clients: tuple[str, ...], scaled: Scaled, classes: int
) -> tuple[Feed, ...]:
    name, _, path = data.source.partition(":")
    if name != "csv":
        raise DataError(
            f"`data.follow` should be 0 for all sources but 'csv:PATH'. Found {data.follow} with "
            f"{data.source!r}. "
            "Leave it out."
        )
    return followed(path, data, plan, clients, scaled, classes)


def _steps(data: DataConfig) -> Scenario:
    steps = scenario(data.scenario)
    if data.lags and steps.one(LabelDelay):
        raise DataError(
            "`data.lags` should be 0 where labels come late, as earlier labels are then not known yet. Found "
            f"{data.lags} and {data.scenario!r}. Leave one out."
        )
    return steps


def _known(y: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the labels with those outside of the classes asked for, if any number is, marked as none."""
    return np.where(y < classes, y, NO_LABEL) if classes else y


def _known_test(test: Table | None, classes: int) -> Table | None:
    return None if test is None else replace(test, y=_known(test.y, classes))


def _deal(
    table: Table, plan: Partition, held: Held, data: DataConfig, rng: np.random.Generator
) -> tuple[Rows, ...]:
    rest = held.rest
    ids = None if table.ids is None else table.ids[rest]
    if plan.name == "natural" and table.ids is not None and ids is not None:
        whole = (
            np.isin(table.ids, table.ids[held.test]) if held.whole_clients else np.zeros(len(table), np.bool_)
        )
        if len(np.unique(ids)) != len(np.unique(table.ids[~whole])):
            raise DataError(
                "Every natural client should keep 1 sample at least. Found a client that has lost all of its "
                "own to the test, validation and proxy sets. Lower their fractions, or drop tiny clients."
            )
    shares = plan.deal(np.maximum(table.y[rest], 0), ids, data.clients, rng)
    # A partition says who gets a row; where the order is time, it does not say when.
    return tuple(rest[np.sort(rows) if table.ordered else rows] for rows in shares)


def _scale(table: Table, data: DataConfig, rest: Rows) -> Scale | None:
    standard = table.standard if data.scale == "auto" else data.scale == "standard"
    impute = table.impute or data.bad_rows == "impute"
    if standard and table.inputs == "symbols":
        raise DataError("`data.scale` should be 'none' for codes of symbols. Found 'standard'. Change it.")
    return fit(table.x[rest], standard=standard, impute=impute) if standard or impute else None


def _good(table: Table, bad_rows: str, source: str, classes: int) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = finite_rows(table.x) & (table.y != NO_LABEL)
    if bad_rows == "refuse":
        refuse_rows(~good, f"The rows of {source}", f" below {classes}, `data.classes`" if classes else "")
    return good


def _federation(table: Table, held: Held, shares: tuple[Rows, ...], good: NDArray[np.bool_]) -> Federation:
    kept = tuple(rows[good[rows]] for rows in shares)
    dropped = tuple(
        np.searchsorted(np.flatnonzero(good[rows]), np.flatnonzero(~good[rows])) for rows in shares
    )
    test, test_dropped = _test(table, held, good)
    held_back = [rows[good[rows]] for rows in (held.validation, held.proxy)]
    lost = sum(map(len, (held.validation, held.proxy))) - sum(map(len, held_back))
    return Federation(
        shares=tuple(table.samples(rows) for rows in kept),
        test=test,
        validation=table.samples(held_back[0]),
        proxy=table.samples(held_back[1]).x,
        classes=table.classes,
        input_shape=table.samples(held.rest[:1]).x.shape[1:],
        dropped=() if good.all() else tuple(where.astype(np.int64) for where in dropped),
        dropped_held_back=lost + test_dropped,
        class_names=table.class_names,
    )


def _test(table: Table, held: Held, good: NDArray[np.bool_]) -> tuple[Samples, int]:
    own = table.test
    if own is None or len(held.test):
        rows = held.test[good[held.test]]
        return table.samples(rows), len(held.test) - len(rows)
    fine = finite_rows(own.x) & (own.y != NO_LABEL)
    return own.samples(np.flatnonzero(fine)), int((~fine).sum())


def _names(table: Table, plan: Partition, held: Held) -> tuple[str, ...]:
    if plan.name != "natural" or table.ids is None:
        return ()
    return tuple(str(name) for name in np.unique(table.ids[held.rest]).tolist())
