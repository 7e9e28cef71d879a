"""One labelled data set, as read from its source and not yet dealt out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.sources import Samples

MAX_CLASSES = 65_536  # a stray large label would otherwise ask for a huge output layer
CHANNELS = (1, 3, 4)
BLOCK = 4096


NO_LABEL = -1
"""Stands in `Table.y` where a row has no label that is one; such a row is bad."""


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """Rows in the order of the source: `x` of any real dtype `(n, ...)`, `y` int64 `(n,)`.

    `x` keeps its dtype, as a set of bytes is a quarter of its float32.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    ids: NDArray[Any] | None = None
    """The rows' natural clients."""
    people: NDArray[Any] | None = None
    """Whom a row's client belongs to, where one person has several: held out together; None for the ids."""
    test: Table | None = None
    """The source's own test set."""
    groups: NDArray[Any] | None = None
    """Rows of one group stay together when a test is cut: overlapping windows, duplicates."""
    ordered: bool = False
    """Whether the order of rows is time: shares keep it, and no test is drawn from their midst."""
    hold_out: str = "rows"
    """What `data.hold_out` means by `auto`, where there is no test set."""
    standard: bool = False
    """Whether `data.scale` means by `auto` to standardise each column, or channel."""
    impute: bool = False
    """Whether NaN stands for what was not measured, and is filled in."""
    inputs: Literal["numbers", "series", "symbols"] = "numbers"
    """What inputs are: windows of a time series cannot be turned like images, and noise or scaling would turn
    the code of a symbol into another."""
    class_count: int = 0
    """How many classes there are; 0 for one more than the largest label."""
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def classes(self) -> int:
        """How many classes there are, those of the test set included."""
        largest = max(int(self.y.max(initial=0)), int(self.test.y.max(initial=0)) if self.test else 0)
        return max(largest + 1, self.class_count)

    def take(self, rows: slice | NDArray[np.intp]) -> Table:
        """Return the same table with these rows only."""
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            ids=None if self.ids is None else self.ids[rows],
            people=None if self.people is None else self.people[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

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


def check_inputs(x: NDArray[Any], where: str, *, finite: bool = True) -> None:
    """Raise DataError unless `x` holds real numbers, finite if wanted, one row or more, in `(n, ...)`."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{where} should hold real numbers. Found {x.dtype}. Encode them as numbers.")
    if x.ndim < 2 or x.size == 0:
        raise DataError(
            f"{where} should have the shape (n, ...), with no axis empty. Found {x.shape}. "
            "Give one row for each sample."
        )
    if finite:
        refuse_rows(~finite_rows(x), where)


def finite_rows(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which rows are finite in float32."""
    if x.dtype.kind != "f":
        return np.ones(len(x), np.bool_)
    limit = np.finfo(np.float32).max
    finite = np.empty(len(x), np.bool_)
    # One row block at a time: the comparison of a whole set would double its memory.
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        finite[start : start + BLOCK] = (np.abs(block) <= limit).all(axis=tuple(range(1, x.ndim)))
    return finite


def refuse_rows(bad: NDArray[np.bool_], where: str, which: str = "") -> None:
    """Raise DataError if there is a bad row; `which` says what a label is, if not any."""
    if bad.any():
        first = int(bad.argmax())
        raise DataError(
            f"{where} should be finite in float32, each row with a label{which}. Found {int(bad.sum())} bad "
            f"rows, the first is row {first}, counted from 0. Correct them, or set `data.bad_rows` to "
            "'drop' or 'impute'."
        )


def check_labels(y: NDArray[Any], rows: int, where: str, *, strict: bool = True) -> NDArray[np.int64]:
    """Return the labels as int64, or raise DataError unless they are `rows` integers from 0 up.

    Unless `strict`, those outside of 0..65535 become `NO_LABEL`.
    """
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
    if not strict:
        return np.where((y >= 0) & (y < MAX_CLASSES), y, NO_LABEL).astype(np.int64)
    lowest, highest = int(y.min()), int(y.max())
    if lowest < 0 or highest >= MAX_CLASSES:
        raise DataError(
            f"{where} should lie in 0..classes-1, with {MAX_CLASSES} classes at most. "
            f"Found {lowest}..{highest}. Number the classes from 0."
        )
    return y.astype(np.int64)
