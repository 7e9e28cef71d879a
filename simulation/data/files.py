"""The sources `csv:PATH` and `parquet:PATH`: files of columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError, MissingExtra
from phloem.simulation.data.columns import Frame, table_of
from phloem.simulation.data.table import Table

LONGEST_LINE = 1_000_000
LONGEST_CELL = 256
"""Characters: a column of text takes the width of its longest cell in every row."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a CSV file: its columns, the rows read, and the byte at which the next one begins."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    end: int

    def frame(self) -> Frame:
        """Return the rows as columns."""
        return frame_of(self.names, self.rows)


def load_csv(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read a CSV file in UTF-8 whose first line names the columns; of one that is followed, its first rows.

    Raises:
        DataError: the file is missing, empty or malformed, or see `table_of`.
    """
    head = read_head(path, data.follow or None)
    if data.follow and len(head.rows) < data.follow:
        raise DataError(
            f"{path} should have {data.follow} rows to begin with, as `data.follow` says. Found "
            f"{len(head.rows)} complete ones. Lower it, or begin later."
        )
    return table_of(head.frame(), data, ids_name, path)


def load_parquet(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read a Parquet file.

    Raises:
        MissingExtra: pyarrow is not installed.
        DataError: the file is missing or damaged, or see `table_of`.
    """
    _check_file(path, "parquet")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra(
            "A Parquet file needs pyarrow. Found no such package. Install it: pip install 'phloem[data]'."
        ) from error
    try:
        with Path(path).open("rb") as file:
            columns = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} should be a Parquet file. Found: {str(error).splitlines()[0].rstrip('.')}. "
            "Write it again."
        ) from error
    frame = {name: _column(name, columns.column(name)) for name in columns.column_names}
    return table_of(frame, data, ids_name, path)


def read_head(path: str, count: int | None) -> Head:
    """Read the first `count` rows, or all; a last line without its end is not a row of a file that grows.

    Raises:
        DataError: the file is missing, has no line of names, is not UTF-8, or a name is there twice.
    """
    _check_file(path, "csv")
    with Path(path).open("rb") as file:
        first = file.readline(LONGEST_LINE)
        names = tuple(name.strip() for name in cells_of(first.removeprefix(b"\xef\xbb\xbf"), path))
        if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
            raise DataError(
                f"{path} should have commas between its cells, and points in its numbers. Found {other!r} in "
                f"{names[0]!r:.200}. Write it so, as with pandas' `to_csv`."
            )
        twice = [name for name in names if names.count(name) > 1]
        if twice or not all(names) or not names:
            found = f"{twice[0]!r} {names.count(twice[0])} times in" if twice and twice[0] else "no name in"
            raise DataError(
                f"{path} should begin with a line of names of columns, each a different one. Found {found} "
                f"{', '.join(names)!r:.200}. Give each column a name of its own."
            )
        rows: list[tuple[str, ...]] = []
        end = file.tell()
        while count is None or len(rows) < count:
            line = file.readline(LONGEST_LINE)
            if not line or (count is not None and not line.endswith(b"\n")):
                break
            end = file.tell()
            if line.strip():
                rows.append(cells_of(line, path))
    return Head(names, tuple(rows), end)


def cells_of(line: bytes, path: str) -> tuple[str, ...]:
    """Return the cells of a line.

    Raises:
        DataError: it is no line of CSV in UTF-8.
    """
    try:
        return tuple(next(csv.reader([line.decode("utf-8")], strict=True), ()))
    except (UnicodeDecodeError, csv.Error) as error:
        begins = line.decode("utf-8", "replace").strip()[:40]
        raise DataError(
            f"{path} should be lines of CSV in UTF-8, each row on one line. Found {begins!r}: "
            f"{str(error).partition(' - ')[0]}. Write it so."
        ) from error


def frame_of(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Frame:
    """Return rows as columns of text.

    A row with more or fewer cells than names, or with a cell that is too long, is a row of empty ones.
    """
    blank = ("",) * len(names)
    fitting = [row if _fits(row, names) else blank for row in rows]
    columns = zip(*fitting, strict=True) if fitting else [()] * len(names)
    return {name: np.array(column, np.str_) for name, column in zip(names, columns, strict=True)}


def _fits(row: Sequence[str], names: Sequence[str]) -> bool:
    return len(row) == len(names) and max(map(len, row), default=0) <= LONGEST_CELL


def _check_file(path: str, name: str) -> None:
    if not Path(path).is_file():
        raise DataError(
            f"`data.source` should name a file, as in '{name}:PATH'. Found no file {path!r} from "
            f"{Path.cwd()}. "
            "Check the path."
        )


def _column(name: str, column: Any) -> NDArray[Any]:
    values = column.to_numpy()
    if values.dtype.kind in "fiub":
        return np.asarray(values, np.float64)
    cells = ["" if value is None else str(value) for value in values.tolist()]
    longest = max(map(len, cells), default=0)
    if longest > LONGEST_CELL:
        raise DataError(
            f"The column {name!r} should have at most {LONGEST_CELL} characters in a cell. Found {longest}. "
            "Leave it out of the file, or shorten its text."
        )
    return np.array(cells, np.str_)
