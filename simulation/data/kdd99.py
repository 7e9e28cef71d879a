"""The data set `kdd99`: connections to a simulated network, normal or an attack (KDD Cup 1999, 10 % file).

The order is about that of capture, with long bursts of one attack. Label 0 is normal, 1 an anomaly;
`data.label=family` tells the five families apart. Only a third of the rows are distinct, so the test is the
last part in time; with `data.hold_out=rows` equal rows stay together. Four in five rows are attacks:
accuracy says little.

Inputs: counters and times as log(1 + value) / 10, as they reach 7e8; rates as they are; the codes of
protocol, service and flag as one column each code. Two columns that never vary are left out. Natural
clients: `service`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels

PROTOCOL, SERVICE, FLAG = 1, 2, 3
CODES = {PROTOCOL: "protocol", SERVICE: "service", FLAG: "flag"}
CONSTANT = (19, 20)
COLUMNS = 41
LOG_SCALE = 10.0


def load_kdd99(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `X` (n, 41), `family`, `family_names` and the tables of codes.

    Raises:
        DataError: the file is missing or another one, or `data.label` names no label of it.
    """
    arrays = load_set(path, "kdd99", ("X", "family", "family_names", *CODES.values()))
    natural_ids("kdd99", ids_name, {"service": None})
    x = arrays["X"][: data.rows or None]  # here, as the columns of codes make them three times as wide
    check_inputs(x, f"X of {path}")
    family = check_labels(arrays["family"][: len(x)], len(x), f"family of {path}")
    if x.ndim != 2 or x.shape[1] != COLUMNS:
        raise DataError(
            f"{path} should be kdd99, with {COLUMNS} columns. Found {x.shape}. Name another file."
        )
    if data.label not in ("", "anomaly", "family"):
        raise DataError(
            f"`data.label` should be 'anomaly' or 'family' with kdd99. Found {data.label!r}. Use one of them."
        )
    tables = {column: len(arrays[name]) for column, name in CODES.items()}
    families = tuple(map(str, arrays["family_names"]))
    by_family = data.label == "family"
    return Table(
        encoded(x, tables),
        family if by_family else (family > 0).astype(np.int64),
        ids=arrays["service"][x[:, SERVICE].astype(np.intp)],
        groups=_equal_rows(x),
        ordered=True,
        hold_out="time",
        class_count=len(families) if by_family else 2,
        class_names=families if by_family else ("normal", "anomaly"),
    )


def encoded(x: NDArray[np.float32], tables: dict[int, int]) -> NDArray[np.float32]:
    """Return the inputs, float32 `(n, 36 + codes)`; `tables` holds how many codes a column has."""
    numbers = [column for column in range(COLUMNS) if column not in (*tables, *CONSTANT)]
    values = x[:, numbers]
    # By column, not by what is seen here: a part of the file has to be encoded as all of it.
    counts = np.isin(numbers, COUNTS)
    values[:, counts] = np.log1p(values[:, counts]) / np.float32(LOG_SCALE)
    parts = [values]
    for column, codes in tables.items():
        parts.append((x[:, column, np.newaxis] == np.arange(codes)).astype(np.float32))
    return np.concatenate(parts, axis=1)


COUNTS = (0, 4, 5, 7, 8, 9, 10, 12, 14, 15, 16, 17, 18, 22, 23, 31, 32)
"""Columns of seconds, bytes and numbers of things; the others are rates and flags, in 0..1."""


def _equal_rows(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Number the distinct rows, the same number for equal ones."""
    rows = np.ascontiguousarray(x + np.float32(0))  # -0 becomes 0
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    _, number = np.unique(as_bytes, return_inverse=True)
    return number.astype(np.int64)
