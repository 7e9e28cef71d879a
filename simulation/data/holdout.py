"""What is held back from the clients: rows for test, validation and proxy.

| text | the test is |
|---|---|
| `rows` | drawn from all rows; rows of a group stay together |
| `time` | the last rows, of each client under `natural`, else of all; proxy and validation are the first |
| `clients` | all rows of some natural clients, drawn; of the others come validation and proxy |
| `clients:ID,ID` | all rows of these; `29-36` names a range of numbers |

Fractions are of all rows, or, for a test of clients, of the clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.partitions import Rows
from phloem.simulation.data.table import Table


@dataclass(frozen=True, eq=False, slots=True)
class Held:
    """Disjoint rows; together all. `rest`, in the file's order, is for the clients."""

    test: Rows
    validation: Rows
    proxy: Rows
    rest: Rows
    whole_clients: bool = False
    """Whether the test is made of whole clients."""


def hold_out(table: Table, data: DataConfig, rng: np.random.Generator, *, natural: bool) -> Held:
    """Cut the table as `data.hold_out` says; one with its own test set has no test cut, if that says `auto`.

    Raises:
        DataError: it does not say how, the table cannot be cut so, or nothing is left to the clients.
    """
    text = table.hold_out if data.hold_out == "auto" else data.hold_out
    name, _, argument = text.partition(":")
    own_test = table.test is not None and data.hold_out == "auto"
    fractions = (0.0 if own_test else data.test_fraction, data.validation_fraction, data.proxy_fraction)
    everything = np.arange(len(table))
    if text == "rows":
        if table.ordered and table.groups is None and any(fractions):
            raise DataError(
                "`data.hold_out` should be 'time' for rows in the order of time: a test at random would lie "
                "between rows that are learned from. Found 'rows'. Change it, or set the fractions to 0."
            )
        test, validation, proxy = _drawn(everything, fractions, len(table), table.groups, rng)
    elif text == "time":
        owners = table.ids if natural and table.ids is not None else np.zeros(len(table), int)
        proxy, validation, test = _in_time(everything, fractions, owners)
    elif name == "clients":
        test = everything[:0] if own_test else _of_clients(table, argument, data.test_fraction, rng)
        others = np.setdiff1d(everything, test)
        if table.ordered and table.groups is None:
            owners = table.ids if natural and table.ids is not None else np.zeros(len(table), int)
            proxy, validation, _ = _in_time(others, (0.0, *fractions[1:]), owners)
        else:
            _, validation, proxy = _drawn(others, (0.0, *fractions[1:]), len(table), table.groups, rng)
    else:
        raise DataError(
            f"`data.hold_out` should be 'auto', 'rows', 'time', 'clients' or 'clients:IDS'. Found {text!r}. "
            "Check the spelling."
        )
    rest = np.setdiff1d(everything, np.concatenate([test, validation, proxy]))
    if not len(rest):
        raise DataError(
            f"The test, validation and proxy fractions should leave rows to the clients. Found "
            f"{[len(test), len(validation), len(proxy)]} of {len(table)} rows. Lower them."
        )
    return Held(test, validation, proxy, rest, whole_clients=name == "clients")


def _drawn(
    among: Rows,
    fractions: tuple[float, float, float],
    rows: int,
    groups: NDArray[Any] | None,
    rng: np.random.Generator,
) -> tuple[Rows, Rows, Rows]:
    """Draw three sets of about these fractions of `rows`; of a group all or nothing."""
    counts = [round(fraction * rows) for fraction in fractions]
    if groups is None:
        test, validation, proxy, _ = np.split(rng.permutation(among), np.cumsum(counts))
        return test, validation, proxy
    _, member = np.unique(groups[among], return_inverse=True)
    sizes = np.bincount(member)
    order = rng.permutation(len(sizes))
    ends = np.cumsum(sizes[order])
    parts, start = [], 0
    for bound in np.cumsum(counts):
        # The group that reaches over the bound goes to whichever side more of it lies on.
        end = max(start, int(np.searchsorted(ends - sizes[order] / 2, bound)))
        parts.append(np.sort(among[np.isin(member, order[start:end])]))
        start = end
    return parts[0], parts[1], parts[2]


def _in_time(
    among: Rows, fractions: tuple[float, float, float], owners: NDArray[Any]
) -> tuple[Rows, Rows, Rows]:
    """Return the first rows of each owner for proxy, the next for validation, and the last for the test."""
    test_fraction, validation_fraction, proxy_fraction = fractions
    parts: tuple[list[Rows], list[Rows], list[Rows]] = ([], [], [])
    _, member = np.unique(owners[among], return_inverse=True)
    order = np.argsort(member, kind="stable")
    for own in np.split(among[order], np.cumsum(np.bincount(member))[:-1]):
        first = round(proxy_fraction * len(own))
        second = first + round(validation_fraction * len(own))
        last = len(own) - round(test_fraction * len(own))
        for part, rows in zip(parts, (own[:first], own[first:second], own[max(second, last) :]), strict=True):
            part.append(rows)
    proxy, validation, test = (np.sort(np.concatenate(part)) for part in parts)
    return proxy, validation, test


def _of_clients(table: Table, argument: str, fraction: float, rng: np.random.Generator) -> Rows:
    if table.ids is None and table.people is None:
        raise DataError(
            "`data.hold_out` should be 'rows' or 'time' for data without natural clients. Found 'clients'. "
            "Change it, or name the clients' ids with the partition 'natural:ARRAY'."
        )
    people = table.people if table.people is not None else table.ids
    assert people is not None
    names = np.unique(people)
    if argument:
        chosen = np.array(sorted(_named(argument, {str(name) for name in names.tolist()})))
        return np.flatnonzero(np.isin(people.astype(str), chosen))
    count = max(1, round(fraction * len(names))) if fraction else 0
    return np.flatnonzero(np.isin(people, rng.permutation(names)[:count]))


def _named(argument: str, known: set[str]) -> set[str]:
    """Read `3,5,29-36` or names."""
    chosen: set[str] = set()
    for part in map(str.strip, argument.split(",")):
        first, dash, last = part.partition("-")
        if part not in known and dash and first.isdecimal() and last.isdecimal():
            span = {str(number) for number in range(int(first), min(int(last), int(first) + len(known)) + 1)}
        else:
            span = {part}
        unknown = sorted(span - known)
        if unknown:
            some = ", ".join(sorted(known, key=lambda name: (len(name), name))[:8])
            raise DataError(
                f"`data.hold_out` should name clients that there are, such as {some}. Found {unknown[0]!r}. "
                "Check the ids."
            )
        chosen |= span
    if chosen == known:
        raise DataError(
            "`data.hold_out` should leave clients to learn from. Found all of them named. Name fewer."
        )
    return chosen
