"""Tables of columns with names, as CSV and Parquet files hold them, and how they become inputs and labels.

The label is the column that `data.label` names, or `label` or `y`; whole numbers from 0 up stay as they are,
anything else is a name of a class, numbered in sorted order. The column of a natural partition, `client`, and
the one that `data.time` names are no inputs; all others are. A column is of numbers if half of its
cells are, or more; a cell of it that is not a number is NaN, and its row bad. Other columns are of
categories: refused, or one column for each that occurs, with `data.categories=onehot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.table import MAX_CLASSES, NO_LABEL, Table

Frame = Mapping[str, NDArray[Any]]
"""Columns by name, of equal length: float64, or text."""

LABELS = ("label", "y")
CLIENT = "client"
MOST_CATEGORIES = 1000
"""Words of a column that get a column each; an id's would fill the memory."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column of a table is for, decided once: later rows are read the same way."""

    inputs: tuple[tuple[str, tuple[str, ...] | None], ...]
    """Names of the input columns, with their categories if they have some."""
    label: str
    label_names: tuple[str, ...]
    """The classes' names; empty where labels are their numbers."""

    def encode(self, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return inputs `(n, columns)`, NaN for a cell that is no number, and labels, or `NO_LABEL`.

        A category that was not there at first is none of its columns.
        """
        parts = []
        for name, categories in self.inputs:
            if categories is None:
                parts.append(numbers(frame[name])[:, np.newaxis])
            else:
                parts.append((_text(frame[name])[:, np.newaxis] == np.array(categories)).astype(np.float64))
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and its row bad
            x = np.concatenate(parts, axis=1).astype(np.float32)
        return x, self._labels(frame[self.label])

    def _labels(self, column: NDArray[Any]) -> NDArray[np.int64]:
        if self.label_names:
            known = {name: number for number, name in enumerate(self.label_names)}
            return np.array([known.get(name, NO_LABEL) for name in _text(column)], np.int64)
        found = numbers(column)
        whole = np.isfinite(found) & (found >= 0) & (found < MAX_CLASSES) & (found == np.floor(found))
        return np.where(whole, found, NO_LABEL).astype(np.int64)


def layout_of(frame: Frame, data: DataConfig, ids_name: str | None, where: str) -> Layout:
    """Decide what the columns are for.

    Raises:
        DataError: there is no label or no input, or a column of categories that should be refused.
    """
    wanted = (data.label,) if data.label else LABELS
    label = next((name for name in wanted if name in frame), "")
    if label not in frame:
        raise DataError(
            f"{where} should have a column of labels, {' or '.join(map(repr, wanted))}. Found the columns "
            f"{', '.join(frame):.200}. Name it with `data.label`."
        )
    for name, setting in ((data.time, "data.time"), (ids_name or "", "the partition 'natural'")):
        if name and name not in frame:
            raise DataError(
                f"{where} should have the column {name!r} of {setting}. Found {', '.join(frame)}. Name "
                "another."
            )
    others = [name for name in frame if name not in (label, data.time, ids_name, CLIENT)]
    inputs = tuple((name, _categories(name, frame[name], data.categories, where)) for name in others)
    if not inputs:
        raise DataError(f"{where} should have a column of inputs. Found {', '.join(frame)}. Add one.")
    return Layout(inputs, label, _label_names(frame[label]))


def table_of(
    frame: Frame, data: DataConfig, ids_name: str | None, where: str, layout: Layout | None = None
) -> Table:
    """Return the rows of a frame, in the order of `data.time` if that is set.

    `layout` is that of the rows to learn from, where these, with the same columns, are for the test.

    Raises:
        DataError: see `layout_of`; or there is no row, or only one class.
    """
    layout = layout_of(frame, data, ids_name, where) if layout is None else layout
    x, y = layout.encode(frame)
    if not len(y) or len(np.unique(y[y != NO_LABEL])) < 2:
        raise DataError(
            f"{where} should have rows of 2 classes at least. Found {len(y)} rows of "
            f"{len(np.unique(y[y != NO_LABEL]))}. Use other data, or another column with `data.label`."
        )
    table = Table(
        x,
        y,
        ids=None if ids_name is None else _text(frame[ids_name]),
        ordered=bool(data.time or data.follow),
        hold_out="time" if data.time or data.follow else "rows",
        class_count=len(layout.label_names),
        class_names=layout.label_names,
    )
    return table.take(_in_order(frame[data.time])) if data.time else table


def numbers(column: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cells as numbers, NaN for those that are none."""
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    return np.array([_number(cell) for cell in column.tolist()], np.float64)


def _number(cell: str) -> float:
    try:
        return (
            float(cell) if "_" not in cell else np.nan
        )  # Python reads 1_000 as a number, and nobody else does
    except ValueError:
        return np.nan


def _text(column: NDArray[Any]) -> NDArray[np.str_]:
    """Return the cells as text without blanks around it; whole numbers without a point."""
    if column.dtype.kind == "f":
        whole = np.isfinite(column) & (column == np.floor(column))
        return np.array([str(int(v)) if w else str(v) for v, w in zip(column.tolist(), whole, strict=True)])
    return np.array([str(cell).strip() for cell in column.tolist()], np.str_)


def _missing(column: NDArray[np.str_]) -> NDArray[np.bool_]:
    return np.array([cell.lower() in MISSING for cell in column.tolist()], np.bool_)


def _categories(name: str, column: NDArray[Any], wanted: str, where: str) -> tuple[str, ...] | None:
    if column.dtype.kind in "fiub":
        return None
    cells = _text(column)
    there = ~_missing(cells)
    odd = there & np.isnan(numbers(cells))
    if 2 * odd.sum() <= there.sum():
        return None
    if wanted == "refuse":
        raise DataError(
            f"The column {name!r} of {where} should hold numbers. Found {str(cells[odd][0])!r}. Set "
            "`data.categories` to 'onehot' to give each of its words a column, or leave it out of the file."
        )
    words = np.unique(cells[there])
    if len(words) > MOST_CATEGORIES:
        raise DataError(
            f"The column {name!r} of {where} should hold at most {MOST_CATEGORIES} different words, for each "
            f"becomes a column. Found {len(words)}. Leave it out of the file if it is an id."
        )
    return tuple(words.tolist())


def _label_names(column: NDArray[Any]) -> tuple[str, ...]:
    """Return the names of classes in order; none where labels are whole numbers from 0 up."""
    cells = _text(column)
    there = cells[~_missing(cells)]
    if all(cell.isascii() and cell.isdecimal() and int(cell) < MAX_CLASSES for cell in there.tolist()):
        return ()
    names = np.unique(there).tolist()
    found = [_number(name) for name in names]
    return tuple(
        names if np.isnan(found).any() else [name for _, name in sorted(zip(found, names, strict=True))]
    )


def _in_order(column: NDArray[Any]) -> NDArray[np.intp]:
    """Return the rows in the order of a column: of its numbers, or else of its text, as for ISO dates."""
    found = numbers(column)
    return np.argsort(_text(column) if np.isnan(found).any() else found, kind="stable")
