"""A CSV file that grows, as a stream: what was appended since a position is read when it is asked for.

The position is a number of rows, so the same position gives the same samples, in any process, however long
the file has become. Only what has been written with its line's end counts. What is remembered between two
reads, where a row begins, follows from the file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Samples
from phloem.simulation.data.columns import Layout, layout_of
from phloem.simulation.data.files import LONGEST_LINE, cells_of, frame_of, read_head
from phloem.simulation.data.partitions import Partition
from phloem.simulation.data.table import NO_LABEL, as_inputs, finite_rows

Own = Callable[[int, tuple[str, ...]], bool]
Scaled = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(eq=False)
class FileFeed:
    """A client's rows of a file that grows."""

    path: str
    names: tuple[str, ...]
    layout: Layout
    own: Own
    """Tells whether the n-th row below the first ones, of these cells, is this client's."""
    scaled: Scaled
    refuse: bool
    classes: int
    scanned: int
    """The byte up to which the file was looked through, at first where the first rows end."""
    seen: int = 0
    """How many rows, of all clients, were looked at."""
    offsets: list[int] = field(default_factory=list)
    """The byte at which each of the client's rows begins."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, start: int, count: int) -> tuple[Samples, int]:
        """Return the good samples of rows `[start, start + count)` that are there, and the row after them.

        Raises:
            DataError: the file is gone or has become shorter, or has a bad row and those are refused.
        """
        with self.lock:
            self._look_on()
            places = self.offsets[start : start + count]
            rows = self._rows(places)
        x, y = self.layout.encode(frame_of(self.names, rows))
        inputs = as_inputs(self.scaled(x))
        good = finite_rows(inputs) & (y != NO_LABEL) & (y < self.classes)
        if self.refuse and not good.all():
            raise DataError(
                f"The rows of {self.path} should be finite, each with a known label. Found a bad one, row "
                f"{start + int((~good).argmax())} of this client: "
                f"{', '.join(rows[int((~good).argmax())])!r}. "
                "Correct it, or set `data.bad_rows` to 'drop'."
            )
        return Samples(inputs[good], y[good]), max(start, start + len(places)) if places else start

    def _look_on(self) -> None:
        """Find where the rows begin that have been appended."""
        try:
            size = Path(self.path).stat().st_size
            if size < self.scanned:
                raise DataError(
                    f"{self.path} should only grow while it is followed. Found {size} bytes after "
                    f"{self.scanned}. "
                    "Write a new file, and begin a new run with it."
                )
            with Path(self.path).open("rb") as file:
                file.seek(self.scanned)
                while (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
                    if line.strip():
                        if self.own(self.seen, cells_of(line, self.path)):
                            self.offsets.append(self.scanned)
                        self.seen += 1
                    self.scanned += len(line)
        except OSError as error:
            raise DataError(
                f"{self.path} should stay readable while it is followed. Found: {error.strerror}. Restore it."
            ) from error

    def _rows(self, places: Sequence[int]) -> list[tuple[str, ...]]:
        with Path(self.path).open("rb") as file:
            rows = []
            for place in places:
                file.seek(place)
                rows.append(cells_of(file.readline(LONGEST_LINE), self.path))
        return rows


def followed(
    path: str, data: DataConfig, plan: Partition, clients: Sequence[str], scaled: Scaled, classes: int
) -> tuple[FileFeed, ...]:
    """Return a feed for each client, by its name, of the rows below the first `data.follow`.

    Raises:
        DataError: the partition needs all rows to be there, or `data.time` is set.
    """
    if plan.name not in ("turns", "natural") and len(clients) > 1:
        raise DataError(
            "`data.partition` should be 'turns' or 'natural' for a file that is followed, as rows are "
            "dealt one "
            f"by one. Found {data.partition!r} for {len(clients)} clients. Change it, or set "
            "`data.clients` to 1."
        )
    if data.time:
        raise DataError(
            "`data.time` should be empty for a file that is followed: it is in order. Found it set."
        )
    head = read_head(path, data.follow)
    layout = layout_of(head.frame(), data, plan.ids_name, path)
    return tuple(
        FileFeed(
            path=path,
            names=head.names,
            layout=layout,
            own=_owned(plan, head.names, place, name, len(clients)),
            scaled=scaled,
            refuse=data.bad_rows == "refuse",
            classes=classes,
            scanned=head.end,
        )
        for place, name in enumerate(clients)
    )


def _owned(plan: Partition, names: tuple[str, ...], place: int, name: str, clients: int) -> Own:
    if plan.name == "natural":
        assert plan.ids_name is not None
        column = names.index(plan.ids_name)
        return lambda number, cells: len(cells) > column and cells[column].strip() == name
    return lambda number, cells: number // plan.count % clients == place
