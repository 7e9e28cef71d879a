"""The ledger of a run: one SQLite file that counts every byte, the same in simulation and deployment.

A rollback journal, not a write-ahead log: what is committed is in `run.sqlite` itself, so the file
can be copied alone, also to where a log's shared memory does not work (network file systems). And
the page cache never spills, so the file is touched only within `commit()`: a kill between commits
leaves the last committed round in it, and a journal left beside it holds nothing that is needed.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar

from phloem.errors import ConfigError, RunError
from phloem.rows import (
    SQL,
    TABLES,
    Direction,
    Distillation,
    Evaluation,
    Kind,
    Message,
    Rejection,
    Round,
    Row,
    Split,
    Stage,
)
from phloem.stream_rows import Baseline, Mix

__all__ = [
    "Direction",
    "Distillation",
    "Evaluation",
    "Kind",
    "Ledger",
    "Message",
    "Rejection",
    "Round",
    "Row",
    "Split",
    "Stage",
    "Totals",
]

FORMAT = 2
APPLICATION_ID = 0x70686C6D  # "phlm", at byte 68 of the file: tells a ledger from any other SQLite file

# Where and on what a run was made, not what happened in it: the digest leaves these facts and columns out,
# so that it is equal for 1, 2 or 4 workers and for every carrier: only some have a wire, and a message's
# envelope holds node ids, which some draw at random.
PLACE_FACTS = frozenset({"carrier", "command", "directory", "engine", "host", "platform", "workers"})
CLASS_NAMES = "class_names"  # a JSON list; like the tables beside the run, not part of the digest
PLACE_COLUMNS = frozenset({"object_bytes", "wire_bytes"})
BESIDE = frozenset({Baseline, Mix})  # tables of what was computed beside the run

INSERTS = {
    row_type: f"INSERT INTO {table} VALUES ({', '.join('?' for _ in fields(row_type))})"
    for row_type, table in TABLES.items()
}

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the messages of one direction; `dense_bytes` counts train messages only."""

    messages: int
    payload_bytes: int
    object_bytes: int
    wire_bytes: int | None
    dense_bytes: int


class Ledger:
    """An open ledger; used by one thread at a time, and a context manager that commits at the end.

    Facts are the run's key and value texts: `seed`, `clients`, `model_sha256`, `command`, `started_at`,
    `version_torch` … Those in `PLACE_FACTS`, and those that end in `_at` or `_seconds` or begin with
    `version_`, are not part of the digest.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Wrap a connection; use `create`, `open` or `resume`."""
        self._sqlite = connection
        self.path = path

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, str]) -> Self:
        """Make a new ledger file with these facts.

        Raises:
            ConfigError: the file is there already, or its folder is not.
        """
        if path.exists():
            raise ConfigError(f"A new run needs a new ledger. Found {path}. Choose another run folder.")
        if not path.parent.is_dir():
            raise ConfigError(f"The run folder {path.parent} should exist. Make it first.")
        ledger = cls(_connect(path, "rwc"), path)
        try:
            ledger._sqlite.executescript(
                f"BEGIN; {SQL} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT};"
            )
            for key, value in facts.items():
                ledger.fact(key, value)
            ledger.commit()
        except BaseException:  # Ctrl-C as well: a ledger is there with its facts or not at all
            ledger.close()
            path.unlink(missing_ok=True)
            raise
        return ledger

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a ledger for reading, also while its run goes on.

        Raises:
            ConfigError: the file is missing, not a ledger or of another format version.
        """
        ledger = cls(_connect(path, "rw"), path)  # "rw": a killed run's journal has to be rolled back first
        ledger._check()
        ledger._sqlite.execute("PRAGMA query_only = ON")
        return ledger

    @classmethod
    def resume(cls, path: Path, last_round: int | None) -> Self:
        """Open a ledger for writing and forget what lies after `last_round`; nothing where that is None.

        Of a killed run it is the checkpoint's: the resumed run records the later rounds once more.
        """
        ledger = cls(_connect(path, "rw"), path)
        ledger._check()
        ledger._begin()
        for table in TABLES.values() if last_round is not None else ():
            ledger._sqlite.execute(f"DELETE FROM {table} WHERE round > ?", (last_round,))
        ledger.commit()
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Commit what a block recorded; after an error, keep only what it committed itself."""
        if kind is None:
            self.commit()
        self.close()

    def close(self) -> None:
        """Close the file; rows recorded since the last commit are lost."""
        self.rollback()
        self._sqlite.close()

    def record(self, *rows: Row) -> None:
        """Add rows, each to the table of its type; they last from the next `commit()`.

        Raises:
            RunError: a row is there already, breaks a constraint, or cannot be written.
        """
        self._begin()
        for row in rows:
            try:
                self._sqlite.execute(INSERTS[type(row)], astuple(row))
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                raise RunError(f"The ledger {self.path} did not take {row}: {error}.") from error

    def fact(self, key: str, value: str) -> None:
        """Set a fact of the run; a later value replaces an earlier one.

        Raises:
            RunError: it cannot be written.
        """
        self._begin()
        self._write("INSERT OR REPLACE INTO fact VALUES (?, ?)", key, value)

    def commit(self) -> None:
        """Make everything recorded so far last, at once and through a crash of the machine."""
        if self._sqlite.in_transaction:
            self._write("COMMIT")

    def rollback(self) -> None:
        """Forget everything recorded since the last commit."""
        if self._sqlite.in_transaction:
            self._sqlite.rollback()

    def facts(self) -> dict[str, str]:
        """Return the run's facts, sorted by key."""
        return dict(self.query("SELECT key, value FROM fact ORDER BY key"))

    def read(self, table: type[R]) -> list[R]:
        """Return all rows of a type, in the order of their key."""
        kinds = [field.type for field in fields(table)]
        rows = self.query(f"SELECT * FROM {TABLES[table]}")
        return [table(*map(_restore, kinds, row)) for row in rows]

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT: for reports and questions the functions here do not answer.

        Raises:
            RunError: the file is damaged.
        """
        try:
            return self._sqlite.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # the question is wrong, not the file
                raise
            raise RunError(
                f"The ledger {self.path} should be whole. Found: {error}. Take it from a copy, or make the "
                "run again."
            ) from error

    def totals(self, direction: Direction) -> Totals:
        """Return the sums over all messages of a direction; a sum without messages is 0, of no wire None."""
        [row] = self.query(
            "SELECT count(*), coalesce(sum(payload_bytes), 0), coalesce(sum(object_bytes), 0),"
            " sum(wire_bytes), coalesce(sum(dense_bytes) FILTER (WHERE kind = 'train'), 0)"
            " FROM message WHERE direction = ?",
            direction,
        )
        return Totals(*row)

    def digest(self) -> str:
        """Return the SHA-256 over all rows of the run's tables, without times, places and the wire."""
        sha = hashlib.sha256()
        for key, value in self.facts().items():
            if not (_is_place(key) or key in {*PLACE_FACTS, CLASS_NAMES} or key.startswith("version_")):
                sha.update(f"fact {(key, value)!r}\n".encode())
        for row_type, table in TABLES.items():
            if row_type in BESIDE:
                continue
            columns = [f.name for f in fields(row_type) if not _is_place(f.name)]
            key_order = ", ".join(
                name
                for (name,) in self.query(
                    "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", table
                )
            )
            for row in self._sqlite.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {key_order}"):
                sha.update(f"{table} {row!r}\n".encode())
        return sha.hexdigest()

    def _begin(self) -> None:
        if not self._sqlite.in_transaction:
            self._write("BEGIN IMMEDIATE")

    def _write(self, sql: str, *values: str) -> None:
        try:
            self._sqlite.execute(sql, values)
        except sqlite3.Error as error:
            raise RunError(
                f"The ledger {self.path} could not be written: {error}. Is the disk full?"
            ) from error

    def _check(self) -> None:
        try:
            [(found,)], [(version,)] = self.query("PRAGMA application_id"), self.query("PRAGMA user_version")
        except RunError:  # nothing that SQLite can read
            found, version = None, None
        if found != APPLICATION_ID:
            self.close()
            raise ConfigError(
                f"{self.path} should be the ledger of a run (run.sqlite). Found another kind of file."
            )
        if version != FORMAT:
            self.close()
            raise ConfigError(
                f"{self.path} should be a ledger of format {FORMAT}. Found format {version}. "
                "Read it with the phloem that wrote it."
            )


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        # No implicit transactions; one thread at a time is the caller's part, whichever thread that is.
        connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        found = "no file there" if not path.exists() else str(error)
        raise ConfigError(
            f"A run's ledger was expected at {path}. Found {found}. Name a run folder."
        ) from error
    connection.execute("PRAGMA cache_spill = OFF")
    return connection


def _restore(kind: object, value: Any) -> Any:
    # SQLite has no booleans, and stores NaN as NULL: where a field must not be None, NULL was NaN.
    if kind == "bool":
        return bool(value)
    return math.nan if kind == "float" and value is None else value


def _is_place(name: str) -> bool:
    return name == "seconds" or name.endswith(("_seconds", "_at")) or name in PLACE_COLUMNS
