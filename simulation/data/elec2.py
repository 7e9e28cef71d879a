"""The data set `elec2`: does the price of electricity rise? New South Wales, 1996 to 1998 (Harries 1999).

The order is time. The label says whether the price is above its mean over the last 48 half hours, so the
price of the very period gives it away and is left out, as is the date, which steps back at five places.
Inputs are the day of the week, the time of the day, the demand, and the neighbour's price, demand and
transfer.

`data.lags=N` adds what else is known when a period begins, on a market where everybody sees the prices, of
each of the N periods before and of the one a day before: its label, its price as the logarithm of its ratio
to the mean of the last 48, and by how much the demand and the logarithm of the neighbour's price have risen
since. The first day, or the first N rows, whose past is not there, are left out.

Natural clients: `day`, of the week, 1 to 7; but time runs on together with `turns:48`, and in spans with
`blocks`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels

DAY, PERIOD, PRICE, DEMAND, OTHER_PRICE = 1, 2, 3, 4, 5
DAY_PERIODS = 48
# Prices are 0.06 in the mean and reach 1; so much is added before the logarithm, as some are 0.
PRICE_FLOOR, OTHER_PRICE_FLOOR = 0.01, 0.001
DEMAND_SCALE = 10.0
COLUMNS = 8


def load_elec2(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `X` (n, 8) and `y`.

    Raises:
        DataError: the file is missing or another one, or too short for `data.lags`.
    """
    arrays = load_set(path, "elec2", ("X", "y"))
    x = arrays["X"]
    check_inputs(x, f"X of {path}")
    y = check_labels(arrays["y"], len(x), f"y of {path}")
    first = max(data.lags, DAY_PERIODS) if data.lags else 0
    if x.ndim != 2 or x.shape[1] != COLUMNS or len(x) <= first:
        raise DataError(
            f"{path} should be elec2, with {COLUMNS} columns and more rows than lags and a day. Found "
            f"{x.shape}. "
            "Name another file, or use 'npz:PATH'."
        )
    natural_ids("elec2", ids_name, {"day": None})
    return Table(
        np.concatenate([present(x), earlier(x, y, data.lags)], axis=1)[first:].astype(np.float32),
        y[first:],
        ids=x[first:, DAY].astype(np.int64),
        ordered=True,
        hold_out="time",
        class_names=("down", "up"),
    )


def present(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what is known of each period itself, `(n, 8)`; the time of the day as a place on a circle."""
    angle = 2 * np.pi * x[:, PERIOD].astype(np.float64)
    others = [x[:, column] for column in range(DEMAND, COLUMNS)]
    return np.stack([(x[:, DAY] - 4) / 3, x[:, PERIOD], np.sin(angle), np.cos(angle), *others], axis=1)


def earlier(x: NDArray[np.float32], y: NDArray[np.int64], lags: int) -> NDArray[np.float64]:
    """Return what is known of the periods before each, `(n, 4 * (lags + 1))`: label, price, two rises.

    Row t holds no price and no label of row t or later, the first rows nothing that is of use. Without lags
    there are no columns.
    """
    if not lags:
        return np.zeros((len(y), 0))
    prices = x[:, PRICE].astype(np.float64)
    t = np.arange(len(y))
    start = np.maximum(t - DAY_PERIODS, 0)
    sums = np.concatenate([[0.0], np.cumsum(prices)])
    mean = np.log((sums[t] - sums[start]) / np.maximum(t - start, 1) + PRICE_FLOOR)  # of periods up to t - 1
    price, demand = np.log(prices + PRICE_FLOOR), DEMAND_SCALE * x[:, DEMAND].astype(np.float64)
    other = np.log(x[:, OTHER_PRICE].astype(np.float64) + OTHER_PRICE_FLOOR)
    columns = []
    for lag in (*range(1, lags + 1), DAY_PERIODS):
        columns += [2.0 * np.roll(y, lag) - 1, np.roll(price, lag) - mean]
        columns += [demand - np.roll(demand, lag), other - np.roll(other, lag)]
    return np.stack(columns, axis=1)
