"""What a device must not lose: the state its app keeps, and the answers the server may ask for again.

One SQLite file. State and answer are written in one transaction, before the answer leaves the device:
whenever the power goes, both are there or neither is, and the task is done again from the state before it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from phloem.errors import ConfigError, RunError

EPOCH_BYTES = 8

_SQL = """
CREATE TABLE IF NOT EXISTS fact (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
    run INTEGER, name TEXT, content BLOB NOT NULL, PRIMARY KEY (run, name)
) STRICT;
CREATE TABLE IF NOT EXISTS answer (
    run INTEGER, task INTEGER, content BLOB NOT NULL, PRIMARY KEY (run, task)
) STRICT;
"""


class Journal:
    """A device's memory across rounds, restarts and power cuts. One process at a time may have it."""

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`, or begin a new one, with an epoch of its own.

        Raises:
            ConfigError: another process has it, or it cannot be read or written.
        """
        self._path, self._below = path, 0
        self._run, self._written = 0, dict[str, bytes]()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ConfigError(
                f"A device's folder should have one process. Found another with {str(path.parent)!r}: "
                "stop it, or give this device its own with --state."
            ) from None
        except OSError as error:
            raise ConfigError(_unusable(path, error)) from None
        try:
            self._sqlite = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            self._sqlite.execute("PRAGMA journal_mode = WAL")  # one fsync a round, not three
            self._sqlite.execute("PRAGMA synchronous = FULL")
            self._sqlite.executescript(_SQL)
            self._sqlite.execute(
                "INSERT OR IGNORE INTO fact VALUES ('epoch', ?)", (secrets.token_bytes(EPOCH_BYTES),)
            )
        except sqlite3.Error as error:
            os.close(self._lock)
            raise ConfigError(_unusable(path, error)) from None

    def __enter__(self) -> Self:
        """Return the open journal."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._sqlite.close()
        os.close(self._lock)

    @property
    def epoch(self) -> bytes:
        """A number of this journal alone: the server sees by it that an earlier one was lost."""
        return self.fact("epoch") or b""

    def fact(self, key: str) -> bytes | None:
        """Return something small that was remembered."""
        rows = self._ask("SELECT value FROM fact WHERE key = ?", key)
        return rows[0][0] if rows else None

    def remember(self, key: str, value: bytes) -> None:
        """Keep something small."""
        self._ask("INSERT OR REPLACE INTO fact VALUES (?, ?)", key, value)

    def state(self, run: int) -> dict[str, bytes]:
        """Return the pieces of the state of a run, in the order in which they were written."""
        rows = self._ask("SELECT name, content FROM state WHERE run = ? ORDER BY rowid", run)
        found: dict[str, bytes] = dict(rows)
        self._run, self._written = run, {name: sha256(content).digest() for name, content in found.items()}
        return found

    def answer(self, run: int, task: int) -> bytes | None:
        """Return the answer to a task that was done, if it is still kept."""
        rows = self._ask("SELECT content FROM answer WHERE run = ? AND task = ?", run, task)
        return rows[0][0] if rows else None

    def answered(self, run: int) -> list[int]:
        """Return the tasks of a run whose answers are kept, lowest first."""
        rows = self._ask("SELECT task FROM answer WHERE run = ? ORDER BY task", run)
        return [task for (task,) in rows]

    def commit(self, run: int, task: int, state: Mapping[str, bytes], answer: bytes) -> None:
        """Write the state after a task and its answer, both or neither; what is of other runs goes.

        Raises:
            RunError: they could not be written; the journal is as before.
        """
        digests = {name: sha256(content).digest() for name, content in state.items()}
        try:
            self._sqlite.execute("BEGIN IMMEDIATE")
            self._sqlite.execute("DELETE FROM state WHERE run != ?", (run,))
            self._sqlite.execute("DELETE FROM answer WHERE run != ? OR task < ?", (run, self._below))
            if run != self._run or list(digests) != list(self._written):
                self._sqlite.execute("DELETE FROM state")
                self._written = {}
            for name, content in state.items():
                if self._written.get(name) != digests[name]:
                    self._sqlite.execute(
                        "INSERT INTO state VALUES (?, ?, ?)"
                        " ON CONFLICT DO UPDATE SET content = excluded.content",
                        (run, name, content),
                    )
            self._sqlite.execute("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", (run, task, answer))
            self._sqlite.execute("COMMIT")
        except sqlite3.Error as error:
            if self._sqlite.in_transaction:
                self._sqlite.execute("ROLLBACK")
            raise RunError(
                f"The device's journal {str(self._path)!r} should take what was learned. Found: {error}. "
                "Make room on its disk; nothing was lost."
            ) from None
        self._run, self._written = run, digests

    def settle(self, below: int) -> None:
        """Let the next commit drop the answers to tasks below a number: the server has them."""
        self._below = max(self._below, below)

    def _ask(self, sql: str, *values: object) -> list[Any]:
        try:
            return self._sqlite.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            if _is_full(error):
                raise RunError(
                    f"The device's journal {str(self._path)!r} should have room. Found: {error}. Make room "
                    "on its disk, then start phloem join again; nothing was lost."
                ) from None
            raise ConfigError(_unusable(self._path, error)) from None


def _is_full(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _unusable(path: Path, error: Exception) -> str:
    if _is_full(error) or getattr(error, "errno", None) == errno.ENOSPC:
        return (
            f"The device's journal {str(path)!r} should have room. Found: {error}. Make room on its disk, or "
            "name another folder with --state."
        )
    return (
        f"The device's journal {str(path)!r} should be a file phloem can write. Found: {error}. "
        "Name another folder with --state, or remove the file: what it kept is then lost."
    )
