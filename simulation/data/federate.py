"""From a source's rows to a federation: hold back, then deal out.

Test, validation and proxy rows are cut at random before the partition, so no client
ever sees them. Both draws come from the run's seed, each with its own generator: a
change of the partition does not move the test set.
"""

from __future__ import annotations

import numpy as np

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.seeds import generator
from phloem.simulation.data.digits import load_digits
from phloem.simulation.data.npz import load_npz
from phloem.simulation.data.partitions import Partition, Rows, partition
from phloem.simulation.data.table import Table
from phloem.sources import Federation


def federate(data: DataConfig, seed: int) -> Federation:
    """Build the federation of a built-in source.

    Raises:
        DataError: see `load_npz` and `Partition.deal`, or the fractions leave no rows.
    """
    plan = partition(data.partition)
    table = _load(data.source, plan)
    test, validation, proxy, rest = _hold_back(table, data, generator(seed, "hold back"))
    ids = None if table.ids is None else table.ids[rest]
    if table.ids is not None and len(np.unique(table.ids)) != len(np.unique(table.ids[rest])):
        raise DataError(
            "Every natural client should keep 1 sample at least. Found a client that has lost all of its "
            "own to the test, validation and proxy sets. Lower their fractions, or drop tiny clients."
        )
    shares = plan.deal(table.y[rest], ids, data.clients, generator(seed, "partition"))
    own_test = table.test
    return Federation(
        shares=tuple(table.samples(rest[rows]) for rows in shares),
        test=own_test.samples(np.arange(len(own_test))) if own_test else table.samples(test),
        validation=table.samples(validation),
        proxy=table.samples(proxy).x,
        classes=table.classes,
        input_shape=table.samples(rest[:1]).x.shape[1:],
    )


def _load(source: str, plan: Partition) -> Table:
    name, _, path = source.partition(":")
    if name == "npz":
        return load_npz(path, plan.ids_name)
    if source != "digits":
        raise DataError(f"`data.source` should be 'digits' or 'npz:PATH'. Found {source!r}. Use one of them.")
    return load_digits()


def _hold_back(table: Table, data: DataConfig, rng: np.random.Generator) -> tuple[Rows, Rows, Rows, Rows]:
    """Return the rows for test, validation and proxy, and the rest in the file's order.

    Fractions are of all rows; a source with its own test set has none cut.
    """
    rows = len(table)
    fractions = (
        0.0 if table.test else data.test_fraction,
        data.validation_fraction,
        data.proxy_fraction,
    )
    counts = [round(fraction * rows) for fraction in fractions]
    if sum(counts) >= rows:
        raise DataError(
            f"The test, validation and proxy fractions should leave rows to the clients. Found {counts} "
            f"of {rows} rows. Lower them."
        )
    test, validation, proxy, rest = np.split(rng.permutation(rows), np.cumsum(counts))
    return test, validation, proxy, np.sort(rest)
