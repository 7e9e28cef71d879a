"""The rows of a run's ledger: one frozen dataclass a table, and the tables themselves.

A dataclass's fields are its table's columns, in order; a test keeps the two equal. Every table is
clustered by its natural key, so that the order of reading never depends on the order of writing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phloem.stream_rows import STREAM_SQL, STREAM_TABLES, StreamRow

Direction = Literal["up", "down"]
Kind = Literal["train", "hello"]
Split = Literal["test", "validation"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message between the server and one client, sized by what was really encoded.

    `payload_bytes` is the frame, `object_bytes` everything the carrier was handed (frame, metrics,
    envelope), `wire_bytes` what a network carried or None where there was none, `dense_bytes` the
    same tensors as plain float32.
    """

    round: int
    client: str
    direction: Direction
    kind: Kind
    codec: str
    base: int
    seq: int
    payload_bytes: int
    object_bytes: int
    wire_bytes: int | None
    dense_bytes: int
    encode_seconds: float | None
    decode_seconds: float | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the size of a train message, seen by its decoder: `dense` first, `frame` last."""

    round: int
    client: str
    direction: Direction
    position: int
    stage: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Round:
    """One finished round: the version it led to, its replies, its clients' loss before learning."""

    round: int
    version: int
    selected: int
    accepted: int
    rejected: int
    seconds: float
    loss: float | None
    prequential_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The global model after a round, on data held back; accuracy in 0..1."""

    round: int
    split: Split
    samples: int
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Rejection:
    """An update that was not aggregated: a short code to count by, and the reason in words."""

    round: int
    client: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Distillation:
    """A distillation after a round, and whether the server kept its outcome."""

    round: int
    accepted: bool
    loss_before: float
    loss_after: float
    accuracy_before: float
    accuracy_after: float


Row = Message | Stage | Round | Evaluation | Rejection | Distillation | StreamRow

TABLES: dict[type, str] = {
    Message: "message",
    Stage: "stage",
    Round: "round",
    Evaluation: "evaluation",
    Rejection: "rejection",
    Distillation: "distillation",
    **STREAM_TABLES,
}

# A float column may be NULL even where the field may not: SQLite stores NaN, a diverged run's loss, as NULL.
SQL = (
    """
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE message (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('up', 'down')),
    kind TEXT NOT NULL CHECK (kind IN ('train', 'hello')),
    codec TEXT NOT NULL,
    base INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL CHECK (payload_bytes >= 0),
    object_bytes INTEGER NOT NULL CHECK (object_bytes >= 0),
    wire_bytes INTEGER CHECK (wire_bytes >= 0),
    dense_bytes INTEGER NOT NULL CHECK (dense_bytes >= 0),
    encode_seconds REAL,
    decode_seconds REAL,
    PRIMARY KEY (round, client, direction, kind, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE stage (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('up', 'down')),
    position INTEGER NOT NULL CHECK (position >= 0),
    stage TEXT NOT NULL,
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (round, client, direction, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE round (
    round INTEGER NOT NULL CHECK (round >= 0) PRIMARY KEY,
    version INTEGER NOT NULL CHECK (version >= 0),
    selected INTEGER NOT NULL CHECK (selected >= 0),
    accepted INTEGER NOT NULL CHECK (accepted >= 0),
    rejected INTEGER NOT NULL CHECK (rejected >= 0),
    seconds REAL NOT NULL CHECK (seconds >= 0),
    loss REAL,
    prequential_accuracy REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE evaluation (
    round INTEGER NOT NULL CHECK (round >= 0),
    split TEXT NOT NULL CHECK (split IN ('test', 'validation')),
    samples INTEGER NOT NULL CHECK (samples >= 0),
    loss REAL,
    accuracy REAL CHECK (accuracy BETWEEN 0 AND 1),
    PRIMARY KEY (round, split)
) STRICT, WITHOUT ROWID;
CREATE TABLE rejection (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (round, client, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE distillation (
    round INTEGER NOT NULL CHECK (round >= 0) PRIMARY KEY,
    accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    loss_before REAL,
    loss_after REAL,
    accuracy_before REAL,
    accuracy_after REAL
) STRICT, WITHOUT ROWID;
"""
    + STREAM_SQL
)
