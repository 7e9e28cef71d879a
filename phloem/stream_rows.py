"""The rows that tell how the clients' streams were learned: what was seen, missed, noticed and forgotten.

Counts by class are JSON arrays, `[12,0,3]`, so that SQLite's own `json_each` can add them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["scenario", "detector"]
Deed = Literal["asked", "forked", "moved", "returned"]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a client told of a round's samples, each predicted before it was learned from.

    `position` counts the client's samples until then, as far as the server was told; `concept` is the one
    in force at the last of them, by the scenario. `labels` and `predicted` are counts by class where the
    client was asked for them.
    """

    round: int
    client: str
    position: int
    concept: int
    samples: int
    correct: int
    loss: float
    labels: str | None
    predicted: str | None
    alarms: int
    skipped: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A change of a client's stream, at a position in it: one that the scenario made, or one noticed.

    A detector's alarm is at the end of its round's samples, which is when the server hears of it. `what` is
    the scenario's word for the change, or how many alarms there were.
    """

    round: int
    client: str
    origin: Origin
    position: int
    what: str


@dataclass(frozen=True, slots=True)
class Concept:
    """A global model after a round, on the test samples as one concept makes them; accuracy in 0..1."""

    round: int
    concept: int
    model: int
    samples: int
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class AnomalyScores:
    """How anomalous a client's model found a round's samples.

    Counts by bin of `phloem.measures.histogram`, as JSON objects with those bins that are not empty.
    """

    round: int
    client: str
    normal: str
    anomalous: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the server did about a client's alarms: asked it once more, or gave it another global model."""

    round: int
    client: str
    deed: Deed
    model: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a predictor that was not federated made of the same samples, in a round.

    `correct` and `pr_auc` are None where they are not the measure; `pr_auc` is over all samples until then.
    Not part of the digest: it is made beside the run, not by it.
    """

    round: int
    name: str
    samples: int
    correct: int | None
    pr_auc: float | None


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each class came to a client in a round: counts by class, as a simulation's source has them.

    Not part of the digest: the server is not told.
    """

    round: int
    client: str
    labels: str


StreamRow = Stream | Drift | Concept | AnomalyScores | Reaction | Baseline | Mix

STREAM_TABLES: dict[type, str] = {
    Stream: "stream",
    Drift: "drift",
    Concept: "concept",
    AnomalyScores: "anomaly_scores",
    Reaction: "reaction",
    Baseline: "baseline",
    Mix: "mix",
}

STREAM_SQL = """
CREATE TABLE stream (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    concept INTEGER NOT NULL CHECK (concept >= 0),
    samples INTEGER NOT NULL CHECK (samples >= 0),
    correct INTEGER NOT NULL CHECK (correct BETWEEN 0 AND samples),
    loss REAL,
    labels TEXT CHECK (labels IS NULL OR json_valid(labels)),
    predicted TEXT CHECK (predicted IS NULL OR json_valid(predicted)),
    alarms INTEGER NOT NULL CHECK (alarms >= 0),
    skipped INTEGER NOT NULL CHECK (skipped >= 0),
    memory_bytes INTEGER NOT NULL CHECK (memory_bytes >= 0),
    PRIMARY KEY (client, round)
) STRICT, WITHOUT ROWID;
CREATE TABLE drift (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('scenario', 'detector')),
    position INTEGER NOT NULL CHECK (position >= 0),
    what TEXT NOT NULL,
    PRIMARY KEY (client, position, origin, what, round)
) STRICT, WITHOUT ROWID;
CREATE TABLE concept (
    round INTEGER NOT NULL CHECK (round >= 0),
    concept INTEGER NOT NULL CHECK (concept >= 0),
    model INTEGER NOT NULL CHECK (model >= 0),
    samples INTEGER NOT NULL CHECK (samples >= 0),
    loss REAL,
    accuracy REAL CHECK (accuracy BETWEEN 0 AND 1),
    PRIMARY KEY (round, concept, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE anomaly_scores (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    normal TEXT NOT NULL CHECK (json_valid(normal)),
    anomalous TEXT NOT NULL CHECK (json_valid(anomalous)),
    PRIMARY KEY (client, round)
) STRICT, WITHOUT ROWID;
CREATE TABLE reaction (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    deed TEXT NOT NULL CHECK (deed IN ('asked', 'forked', 'moved', 'returned')),
    model INTEGER NOT NULL CHECK (model >= 0),
    PRIMARY KEY (round, client, deed)
) STRICT, WITHOUT ROWID;
CREATE TABLE baseline (
    round INTEGER NOT NULL CHECK (round >= 0),
    name TEXT NOT NULL,
    samples INTEGER NOT NULL CHECK (samples >= 0),
    correct INTEGER CHECK (correct BETWEEN 0 AND samples),
    pr_auc REAL CHECK (pr_auc BETWEEN 0 AND 1),
    PRIMARY KEY (name, round)
) STRICT, WITHOUT ROWID;
CREATE TABLE mix (
    round INTEGER NOT NULL CHECK (round >= 0),
    client TEXT NOT NULL,
    labels TEXT NOT NULL CHECK (json_valid(labels)),
    PRIMARY KEY (client, round)
) STRICT, WITHOUT ROWID;
"""
