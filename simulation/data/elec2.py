"""The data set `elec2`: does the price of electricity rise? New South Wales, 1996 to 1998 (Harries 1999).

The order is time. The label says whether the price is above its mean over the last 48 half hours, so the
price of the very period gives it away and is left out, as is the date, which steps back at five places.
`data.lags=N` adds what is known before a period begins, on a market where everybody sees the price: the
labels and prices of the N periods before, and how far the last price is above the mean of the 48 up to it.
Prices are multiplied by 10, as they are 0.06 in the mean. The first N rows, whose past is not there, are
left out.

Natural clients: `day`, of the week, 1 to 7; but more is learned of time with `turns:48` or `blocks`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels

DAY, PERIOD, PRICE = 1, 2, 3
DAY_PERIODS = 48
PRICE_SCALE = 10.0


def load_elec2(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `X` (n, 8) and `y`.

    Raises:
        DataError: the file is missing or another one, or too short for `data.lags`.
    """
    arrays = load_set(path, "elec2", ("X", "y"))
    x = arrays["X"]
    check_inputs(x, f"X of {path}")
    y = check_labels(arrays["y"], len(x), f"y of {path}")
    if x.ndim != 2 or x.shape[1] != 8 or len(x) <= data.lags + DAY_PERIODS:
        raise DataError(
            f"{path} should be elec2, with 8 columns and more rows than lags and a day. Found {x.shape}. "
            "Name another file, or use 'npz:PATH'."
        )
    natural_ids("elec2", ids_name, {"day": None})
    days = x[:, DAY]
    now = np.stack([(days - 4) / 3, x[:, PERIOD], *(x[:, column] for column in range(4, 8))], axis=1)
    inputs = np.concatenate([now, earlier(x[:, PRICE], y, data.lags)], axis=1)[data.lags :]
    return Table(
        inputs.astype(np.float32),
        y[data.lags :],
        ids=days[data.lags :].astype(np.int64),
        ordered=True,
        hold_out="time",
        class_names=("down", "up"),
    )


def earlier(price: NDArray[np.float32], y: NDArray[np.int64], lags: int) -> NDArray[np.float64]:
    """Return what is known before each period, `(n, 2 * lags + 1)`: earlier labels and prices, and the gap.

    Row t holds nothing of row t or later. Without lags there are no columns.
    """
    if not lags:
        return np.zeros((len(y), 0))
    prices = price.astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(prices)])
    t = np.arange(len(y))
    start = np.maximum(t - DAY_PERIODS, 0)
    mean = (sums[t] - sums[start]) / np.maximum(t - start, 1)  # of the periods up to t - 1
    gap = np.roll(prices, 1) - mean
    columns = [np.roll(y, lag).astype(np.float64) for lag in range(1, lags + 1)]
    columns += [PRICE_SCALE * np.roll(prices, lag) for lag in range(1, lags + 1)]
    return np.stack([*columns, PRICE_SCALE * gap], axis=1)
