"""Who may connect: the places of a federation, the devices in them, and the tokens that lead there.

One SQLite file in the link's state folder. A place has a node id that outlives its device: who replaces
a lost device takes its place.
"""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from phloem.errors import ConfigError, ProtocolError
from phloem.link.stream import short_hash

SECRET_BYTES = 16

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
    """The places and tokens of one link."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            ConfigError: it cannot be read or written.
        """
        try:
            self._sqlite = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
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
        [(boot,)] = self._sqlite.execute(
            "INSERT INTO counter VALUES ('boot', 1)"
            " ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
        ).fetchall()
        return int(boot)

    def run_id(self, directory: Path) -> int:
        """Return the number of the run in this folder: the same when it is resumed, never that of another."""
        row = (str(directory.resolve()), secrets.randbits(62) + 1)
        self._sqlite.execute("INSERT OR IGNORE INTO run VALUES (?, ?)", row)
        [(number,)] = self._sqlite.execute("SELECT id FROM run WHERE directory = ?", row[:1]).fetchall()
        return int(number)

    def places(self) -> list[Place]:
        """Return the places that have a device."""
        rows = self._sqlite.execute(
            "SELECT place, node, name, epoch FROM place WHERE fingerprint IS NOT NULL ORDER BY place"
        )
        return [Place(*row) for row in rows]

    def make_token(self, place: int, expires_at: float) -> bytes:
        """Return a new secret that lets one device take a place."""
        node = short_hash(self._salt + place.to_bytes(8, "little"))
        self._sqlite.execute(
            "INSERT OR IGNORE INTO place (place, node, name) VALUES (?, ?, ?)",
            (place, node, f"device-{place}"),
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        row = (sha256(secret).digest(), place, expires_at)
        self._sqlite.execute("INSERT INTO token VALUES (?, ?, ?, NULL)", row)
        return secret

    def redeem(
        self, secret: bytes, fingerprint: bytes, certificate: bytes, name: str, now: float
    ) -> tuple[Place, bytes]:
        """Give a token's place to the device with this key; return the place and the device's certificate.

        The same key may ask again, for the answer may have been lost, and gets the same certificate.

        Raises:
            ProtocolError: the token is unknown, expired, or was used with another key.
        """
        key = sha256(secret).digest()
        found = self._sqlite.execute(
            "SELECT place, expires_at, used_by FROM token WHERE secret_sha256 = ?", (key,)
        ).fetchone()
        if found is None:
            raise ProtocolError("The join token should be one this server printed. It knows no such token.")
        place, expires_at, used_by = found
        if used_by is not None and used_by != fingerprint:
            raise ProtocolError("A join token is good for one device. This one was used: ask for another.")
        if used_by is None:
            if now > expires_at:
                raise ProtocolError("The join token has expired: ask for another.")
            self._sqlite.execute("BEGIN IMMEDIATE")
            try:
                self._sqlite.execute(
                    "UPDATE token SET used_by = ? WHERE secret_sha256 = ?", (fingerprint, key)
                )
                self._sqlite.execute(
                    "UPDATE place SET fingerprint = ?, certificate = ?, name = ? WHERE place = ?",
                    (fingerprint, certificate, name or f"device-{place}", place),
                )
                self._sqlite.execute("COMMIT")
            except sqlite3.IntegrityError:
                self._sqlite.execute("ROLLBACK")
                raise ProtocolError("This device has a place already: one key, one place.") from None
        row = self._sqlite.execute(
            "SELECT place, node, name, epoch, certificate FROM place WHERE place = ?", (place,)
        ).fetchone()
        return Place(*row[:4]), row[4]

    def admit(self, fingerprint: bytes) -> Place | None:
        """Return the place of the device with this key, if it has one."""
        row = self._sqlite.execute(
            "SELECT place, node, name, epoch FROM place WHERE fingerprint = ?", (fingerprint,)
        ).fetchone()
        return None if row is None else Place(*row)

    def note_epoch(self, place: int, epoch: bytes) -> None:
        """Remember which journal a device has."""
        self._sqlite.execute("UPDATE place SET epoch = ? WHERE place = ?", (epoch, place))

    def expel(self, place: int) -> None:
        """Close the link to a place's device; a new token lets another take the place."""
        self._sqlite.execute(
            "UPDATE place SET fingerprint = NULL, certificate = NULL WHERE place = ?", (place,)
        )
