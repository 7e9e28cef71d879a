"""Partitions: how a data set's rows are dealt out to clients.

| text | client i gets |
|---|---|
| `iid` | an equal share of the shuffled rows |
| `dirichlet:ALPHA` | its own mix of classes: for each class, shares drawn from Dirichlet(ALPHA) |
| `blocks` | the i-th of equal contiguous blocks, in the file's order |
| `natural[:ARRAY]` | the rows of the i-th id, sorted, of ARRAY (`client`), in the file's order |

Label skew by a Dirichlet draw for each class follows Yurochkin et al. 2019 (arXiv:1905.12022)
and Li et al. 2022 (arXiv:2102.02079).
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


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition's name and its one parameter, read by `partition`."""

    name: str
    alpha: float = math.inf
    ids_name: str | None = None

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
        if self.name == "iid":
            return tuple(np.array_split(rng.permutation(len(y)), clients))
        return _dirichlet(y, clients, self.alpha, rng)


def partition(text: str) -> Partition:
    """Read a partition's text.

    Raises:
        DataError: there is no such partition, or its parameter is out of range.
    """
    name, _, argument = text.partition(":")
    if name in ("iid", "blocks") and text == name:
        return Partition(name)
    if name == "natural" and text != "natural:":
        return Partition(name, ids_name=argument or "client")
    if name == "dirichlet":
        try:
            alpha = float(argument)
        except ValueError:
            alpha = math.nan
        if ALPHA_MIN <= alpha <= ALPHA_MAX:
            return Partition(name, alpha=alpha)
        raise DataError(
            f"`data.partition` should be 'dirichlet:ALPHA' with ALPHA in {ALPHA_MIN:g}..{ALPHA_MAX:g}. "
            f"Found {text!r}. Use 'dirichlet:0.3' for a strong label skew, 'iid' for none."
        )
    raise DataError(
        f"`data.partition` should be 'iid', 'dirichlet:ALPHA', 'blocks' or 'natural'. Found {text!r}. "
        "Check the spelling."
    )


def _natural(ids: NDArray[Any] | None, clients: int) -> tuple[Rows, ...]:
    if ids is None:
        raise DataError(
            "The partition 'natural' should find the clients' ids in the data. Found none. "
            "Use an 'npz:PATH' source with an array `client`, or another partition."
        )
    names, owners = np.unique(ids, return_inverse=True)
    if clients not in (0, len(names)):
        raise DataError(
            f"`data.clients` should be {len(names)}, the number of ids, or 0 for as many as there are. "
            f"Found {clients}. Set it so, or use another partition."
        )
    order = np.argsort(owners, kind="stable")
    return tuple(np.split(order, np.cumsum(np.bincount(owners))[:-1]))


def _dirichlet(
    y: NDArray[np.int64], clients: int, alpha: float, rng: np.random.Generator
) -> tuple[Rows, ...]:
    """Split each class by its own draw; a client left empty gets one row of the fullest."""
    dealt: list[list[Rows]] = [[] for _ in range(clients)]
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        bounds = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1]
        for share, part in zip(
            dealt, np.split(rows, np.rint(bounds * len(rows)).astype(np.intp)), strict=True
        ):
            share.append(part)
    shares = [rng.permutation(np.concatenate(parts)) for parts in dealt]
    sizes = np.array([len(share) for share in shares])
    for empty in np.flatnonzero(sizes == 0):
        fullest = int(sizes.argmax())
        shares[empty], shares[fullest] = shares[fullest][-1:], shares[fullest][:-1]
        sizes[empty], sizes[fullest] = 1, sizes[fullest] - 1
    return tuple(shares)
