"""One labelled data set, as read from its source and not yet dealt out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.sources import Samples

MAX_CLASSES = 65_536  # a stray large label would otherwise ask for a huge output layer
CHANNELS = (1, 3, 4)


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """Checked rows: `x` of any real dtype `(n, ...)`, `y` int64 `(n,)`.

    `ids` are the rows' natural clients, or None; `test` is the source's own test set,
    or None. `x` keeps its dtype, as a set of bytes is a quarter of its float32.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    ids: NDArray[Any] | None = None
    test: Table | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.y.max()) + 1

    def samples(self, rows: NDArray[np.intp]) -> Samples:
        """Return a copy of these rows, as float32 and int64."""
        return Samples(as_inputs(self.x[rows]), self.y[rows])


def as_inputs(x: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 model inputs: uint8 is scaled from 0..255 to 0..1, the rest is cast.

    Images `(n, h, w)` become `(n, 1, h, w)`. In four dimensions the channels come first;
    `(n, h, w, c)` with 1, 3 or 4 channels is turned round, unless its second axis could be
    the channels as well.
    """
    if x.ndim == 3:
        x = x[:, np.newaxis]
    elif x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        x = np.moveaxis(x, 3, 1)
    inputs = np.ascontiguousarray(x, dtype=np.float32)
    if x.dtype == np.uint8:
        inputs /= 255  # in place: the cast has made a copy already
    return inputs


def check_inputs(x: NDArray[Any], where: str) -> None:
    """Raise DataError unless `x` holds finite real numbers, one row or more, in `(n, ...)`."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{where} should hold real numbers. Found {x.dtype}. Encode them as numbers.")
    if x.ndim < 2 or x.size == 0:
        raise DataError(
            f"{where} should have the shape (n, ...), with no axis empty. Found {x.shape}. "
            "Give one row for each sample."
        )
    if x.dtype.kind == "f":
        limit = np.finfo(np.float32).max
        # One row block at a time: the comparison of a whole set would double its memory.
        for start in range(0, len(x), 4096):
            if not (np.abs(x[start : start + 4096]) <= limit).all():
                raise DataError(
                    f"{where} should be finite in float32. Found NaN, infinity or a larger number "
                    f"in rows {start}..{min(start + 4096, len(x)) - 1}. Drop or impute such rows."
                )


def check_labels(y: NDArray[Any], rows: int, where: str) -> NDArray[np.int64]:
    """Return the labels as int64, or raise DataError unless they are `rows` integers from 0 up."""
    if y.dtype.kind not in "iub":
        raise DataError(
            f"{where} should hold integer labels 0..classes-1. Found {y.dtype}. "
            "Number the classes from 0 and store them as integers."
        )
    if y.shape != (rows,):
        raise DataError(
            f"{where} should have the shape ({rows},), a label for each sample. Found {y.shape}. "
            "Check that inputs and labels belong together."
        )
    lowest, highest = int(y.min()), int(y.max())
    if lowest < 0 or highest >= MAX_CLASSES:
        raise DataError(
            f"{where} should lie in 0..classes-1, with {MAX_CLASSES} classes at most. "
            f"Found {lowest}..{highest}. Number the classes from 0."
        )
    return y.astype(np.int64)
