"""Who may connect: the places of a federation, the devices in them, and the tokens that lead there.

One SQLite file in the link's state folder. A place has a node id that outlives its device: who replaces
a lost device takes its place.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from phloem.errors import ConfigError, ProtocolError, RunError
from phloem.link.stream import short_hash

SECRET_BYTES = 16
BUSY_S = 2.0
"""How long another process may have the file before that is an error; devices wait meanwhile."""

_SQL = """
CREATE TABLE IF NOT EXISTS place (
    place INTEGER PRIMARY KEY,
    node INTEGER NOT NULL UNIQUE,
    name TEXT NOT NULL,
    fingerprint BLOB UNIQUE,
    certificate BLOB,
    epoch BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE TABLE IF NOT EXISTS token (
    secret_sha256 BLOB PRIMARY KEY,
    place INTEGER NOT NULL REFERENCES place,
    expires_at REAL NOT NULL,
    used_by BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (directory TEXT PRIMARY KEY, id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Place:
    """A device's place in the federation; `place` is its partition-id."""

    place: int
    node: int
    name: str
    epoch: bytes


class Registry:
    """The places and tokens of one link; any thread may ask.

    Every question raises RunError where the file cannot be read or written any more: locked by another
    process, on a full disk, damaged. Nothing is half written then, and the same question may do later.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            ConfigError: it cannot be read or written.
        """
        self._path, self._lock = path, threading.RLock()
        try:
            self._sqlite = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_S, check_same_thread=False
            )
            self._sqlite.execute("PRAGMA synchronous = FULL")
            self._sqlite.executescript(_SQL)
        except sqlite3.Error as error:
            raise ConfigError(
                f"The link's registry {str(path)!r} should be a file phloem can write. Found: {error}. "
                "Name another folder with --state."
            ) from None
        self._salt = str(path.resolve()).encode()

    def close(self) -> None:
        """Close the file."""
        self._sqlite.close()

    def next_boot(self) -> int:
        """Return how often the link was started, this time included."""
        [(boot,)] = self._ask(
            "INSERT INTO counter VALUES ('boot', 1)"
            " ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
        )
        return int(boot)

    def run_id(self, directory: Path) -> int:
        """Return the number of the run in this folder: the same when it is resumed, never that of another."""
        row = (str(directory.resolve()), secrets.randbits(62) + 1)
        self._ask("INSERT OR IGNORE INTO run VALUES (?, ?)", *row)
        [(number,)] = self._ask("SELECT id FROM run WHERE directory = ?", row[0])
        return int(number)

    def places(self) -> list[Place]:
        """Return the places that have a device."""
        rows = self._ask(
            "SELECT place, node, name, epoch FROM place WHERE fingerprint IS NOT NULL ORDER BY place"
        )
        return [Place(*row) for row in rows]

    def make_token(self, place: int, expires_at: float) -> bytes:
        """Return a new secret that lets one device take a place."""
        node = short_hash(self._salt + place.to_bytes(8, "little"))
        self._ask(
            "INSERT OR IGNORE INTO place (place, node, name) VALUES (?, ?, ?)", place, node, f"device-{place}"
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        self._ask("INSERT INTO token VALUES (?, ?, ?, NULL)", sha256(secret).digest(), place, expires_at)
        return secret

    def redeem(
        self, secret: bytes, fingerprint: bytes, certificate: bytes, name: str, now: float
    ) -> tuple[Place, bytes]:
        """Give a token's place to the device with this key; return the place and the device's certificate.

        The same key may ask again, for the answer may have been lost, and gets the same certificate. A secret
        is found by its hash, so the time that takes says nothing about how much of a guess was right.

        Raises:
            ProtocolError: the token is unknown, expired, or was used with another key.
        """
        key = sha256(secret).digest()
        rows = self._ask("SELECT place, expires_at, used_by FROM token WHERE secret_sha256 = ?", key)
        if not rows:
            raise ProtocolError("The join token should be one this server printed. It knows no such token.")
        [(place, expires_at, used_by)] = rows
        if used_by is not None and used_by != fingerprint:
            raise ProtocolError("A join token is good for one device. This one was used: ask for another.")
        if used_by is None:
            if now > expires_at:
                raise ProtocolError("The join token has expired: ask for another.")
            with self._whole():
                self._ask("UPDATE token SET used_by = ? WHERE secret_sha256 = ?", fingerprint, key)
                self._ask(
                    "UPDATE place SET fingerprint = ?, certificate = ?, name = ? WHERE place = ?",
                    fingerprint,
                    certificate,
                    name or f"device-{place}",
                    place,
                )
        [row] = self._ask("SELECT place, node, name, epoch, certificate FROM place WHERE place = ?", place)
        return Place(*row[:4]), row[4]

    def renew(self, place: int, certificate: bytes) -> None:
        """Keep the new certificate of a place's device."""
        self._ask("UPDATE place SET certificate = ? WHERE place = ?", certificate, place)

    def admit(self, fingerprint: bytes) -> Place | None:
        """Return the place of the device with this key, if it has one."""
        rows = self._ask("SELECT place, node, name, epoch FROM place WHERE fingerprint = ?", fingerprint)
        return Place(*rows[0]) if rows else None

    def note_epoch(self, place: int, epoch: bytes) -> None:
        """Remember which journal a device has."""
        self._ask("UPDATE place SET epoch = ? WHERE place = ?", epoch, place)

    def expel(self, place: int) -> None:
        """Close the link to a place's device; a new token lets another take the place."""
        self._ask("UPDATE place SET fingerprint = NULL, certificate = NULL WHERE place = ?", place)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Write all that the block writes, or nothing of it."""
        with self._lock:
            self._ask("BEGIN IMMEDIATE")
            try:
                yield
                self._ask("COMMIT")
            except BaseException:
                if self._sqlite.in_transaction:
                    self._sqlite.execute("ROLLBACK")
                raise

    def _ask(self, sql: str, *values: object) -> list[Any]:
        try:
            with self._lock:
                return self._sqlite.execute(sql, values).fetchall()
        except sqlite3.IntegrityError:  # of what is written here, only a key can be there already
            raise ProtocolError("This device has a place already: one key, one place.") from None
        except sqlite3.Error as error:
            raise RunError(
                f"The link's registry {str(self._path)!r} should be a file phloem can read and write. "
                f"Found: {error}. Make room on its disk, stop who else has it, or take it from a copy; then "
                "try again."
            ) from None
