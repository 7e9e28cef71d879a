"""Partitions: how a data set's rows are dealt out to clients.

| text | client i gets |
|---|---|
| `iid` | an equal share of the shuffled rows |
| `dirichlet:ALPHA` | its own mix of classes: for each class, shares drawn from Dirichlet(ALPHA) |
| `pathological:K` | an equal share of the rows of K classes at most, the same number of clients a class |
| `quantity:SIGMA` | shuffled rows, their number in proportion to exp(SIGMA z), z standard normal |
| `blocks` | the i-th of equal contiguous blocks, in the file's order |
| `turns[:ROWS]` | the i-th of every `clients` turns of ROWS rows (1): everybody's time runs on together |
| `natural[:ARRAY]` | the rows of the i-th id, sorted, of ARRAY (`client`), in the file's order |

Label skew by a Dirichlet draw for each class follows Yurochkin et al. 2019 (arXiv:1905.12022)
and Li et al. 2022 (arXiv:2102.02079), K classes a client McMahan et al. 2017 (arXiv:1602.05629).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError

Rows = NDArray[np.intp]

# Outside of these the draws are no longer numbers; within they reach from one owner a class to iid.
ALPHA_MIN, ALPHA_MAX = 1e-6, 1e6


SIGMA_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition's name and its one parameter, read by `partition`."""

    name: str
    alpha: float = math.inf
    ids_name: str | None = None
    count: int = 1
    """Classes a client, or rows a turn."""

    def deal(
        self, y: NDArray[np.int64], ids: NDArray[Any] | None, clients: int, rng: np.random.Generator
    ) -> tuple[Rows, ...]:
        """Return the rows of each client in order of arrival: disjoint, covering, none empty.

        Raises:
            DataError: `clients` is not possible with these rows.
        """
        if self.name == "natural":
            return _natural(ids, clients)
        if not 1 <= clients <= len(y):
            raise DataError(
                f"`data.clients` should be in 1..{len(y)}, a sample for each at least. Found {clients}. "
                "Use fewer clients, or lower the test, validation and proxy fractions."
            )
        if self.name == "blocks":
            return tuple(np.array_split(np.arange(len(y)), clients))
        if self.name == "turns":
            turn = np.arange(len(y)) // self.count % clients
            return _none_empty([np.flatnonzero(turn == client) for client in range(clients)])
        if self.name == "iid":
            return tuple(np.array_split(rng.permutation(len(y)), clients))
        if self.name == "quantity":
            weights = np.exp(self.alpha * rng.standard_normal(clients))
            bounds = np.rint(np.cumsum(weights / weights.sum())[:-1] * len(y)).astype(np.intp)
            return _none_empty(np.split(rng.permutation(len(y)), bounds))
        if self.name == "pathological":
            return _pathological(y, clients, self.count, rng)
        return _dirichlet(y, clients, self.alpha, rng)


def partition(text: str) -> Partition:
    """Read a partition's text.

    Raises:
        DataError: there is no such partition, or its parameter is out of range.
    """
    name, _, argument = text.partition(":")
    if text in ("iid", "blocks", "turns"):
        return Partition(name)
    if name == "natural" and text != "natural:":
        return Partition(name, ids_name=argument or "client")
    if name in ("pathological", "turns") and text != name:
        if argument.isascii() and argument.isdecimal() and 1 <= int(argument) <= 10**9:
            return Partition(name, count=int(argument))
        raise DataError(
            f"`data.partition` should be '{name}:N' with a whole number from 1 up. Found {text!r}. "
            "Use 'pathological:2' for two classes a client, 'turns:24' for 24 rows in turn."
        )
    if name in ("dirichlet", "quantity"):
        try:
            alpha = float(argument)
        except ValueError:
            alpha = math.nan
        lowest, highest = (ALPHA_MIN, ALPHA_MAX) if name == "dirichlet" else (0.0, SIGMA_MAX)
        if lowest <= alpha <= highest:
            return Partition(name, alpha=alpha)
        raise DataError(
            f"`data.partition` should be '{name}:NUMBER', in {lowest:g}..{highest:g}. Found {text!r}. "
            "Use 'dirichlet:0.3' for a strong label skew, 'quantity:1' for shares of unlike size, or 'iid'."
        )
    raise DataError(
        "`data.partition` should be 'iid', 'dirichlet:ALPHA', 'pathological:CLASSES', 'quantity:SIGMA', "
        f"'blocks', 'turns:ROWS' or 'natural'. Found {text!r}. Check the spelling."
    )


def _natural(ids: NDArray[Any] | None, clients: int) -> tuple[Rows, ...]:
    if ids is None:
        raise DataError(
            "The partition 'natural' should find the clients' ids in the data. Found none. "
            "Use a source that has them, such as 'npz:PATH' with an array `client`, or another partition."
        )
    names, owners = np.unique(ids, return_inverse=True)
    if clients not in (0, len(names)):
        raise DataError(
            f"`data.clients` should be {len(names)}, the number of ids, or 0 for as many as there are. "
            f"Found {clients}. Set it so, or use another partition."
        )
    order = np.argsort(owners, kind="stable")
    return tuple(np.split(order, np.cumsum(np.bincount(owners))[:-1]))


def _pathological(
    y: NDArray[np.int64], clients: int, count: int, rng: np.random.Generator
) -> tuple[Rows, ...]:
    """Give each client `count` classes in turn, and split each class evenly among those who have it."""
    labels = rng.permutation(np.unique(y))
    count = min(count, len(labels))
    if clients * count < len(labels):
        raise DataError(
            f"The partition 'pathological' should leave no class without a client. Found {len(labels)} "
            f"classes for {clients} clients of {count}. Raise one of the two."
        )
    seats = np.arange(clients * count) % len(labels)  # client i has the seats [i * count, (i + 1) * count)
    dealt: list[list[Rows]] = [[] for _ in range(clients)]
    for place, label in enumerate(labels):
        owners = rng.permutation(np.flatnonzero(seats == place) // count)
        rows = rng.permutation(np.flatnonzero(y == label))
        for owner, part in zip(owners, np.array_split(rows, len(owners)), strict=True):
            dealt[owner].append(part)
    return _none_empty([rng.permutation(np.concatenate(parts)) for parts in dealt])


def _dirichlet(
    y: NDArray[np.int64], clients: int, alpha: float, rng: np.random.Generator
) -> tuple[Rows, ...]:
    """Split each class by its own draw."""
    dealt: list[list[Rows]] = [[] for _ in range(clients)]
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        bounds = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1]
        for share, part in zip(
            dealt, np.split(rows, np.rint(bounds * len(rows)).astype(np.intp)), strict=True
        ):
            share.append(part)
    return _none_empty([rng.permutation(np.concatenate(parts)) for parts in dealt])


def _none_empty(shares: list[Rows]) -> tuple[Rows, ...]:
    """Give a client left empty one row of the fullest."""
    sizes = np.array([len(share) for share in shares])
    for empty in np.flatnonzero(sizes == 0):
        fullest = int(sizes.argmax())
        shares[empty], shares[fullest] = shares[fullest][-1:], shares[fullest][:-1]
        sizes[empty], sizes[fullest] = 1, sizes[fullest] - 1
    return tuple(shares)
