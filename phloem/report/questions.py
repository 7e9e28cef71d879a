"""What the report asks the ledger: plain rows in, numbers out, all sums done by SQLite."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from phloem.ledger import Direction, Ledger

DIRECTIONS: tuple[Direction, ...] = ("up", "down")


@dataclass(frozen=True, slots=True)
class Progress:
    """The test accuracy after a round, and the payload bytes of both directions until then."""

    round: int
    cumulative_bytes: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class RoundBytes:
    """The payload bytes of a round by direction."""

    round: int
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Ladder:
    """The mean size of the messages that went through the same stages, after each of them."""

    direction: Direction
    messages: int
    steps: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class ClientRow:
    """What one client cost and gave."""

    client: str
    messages: int
    up: int
    down: int
    rounds: int
    rejected: int


def progress(ledger: Ledger) -> list[Progress]:
    """Return the accuracy after each evaluated round against the bytes sent until then."""
    rows = ledger.query(
        "WITH sent AS MATERIALIZED (SELECT round, sum(payload_bytes) AS bytes FROM message GROUP BY round)"
        " SELECT round, (SELECT coalesce(sum(bytes), 0) FROM sent WHERE sent.round <= evaluation.round),"
        " accuracy FROM evaluation WHERE split = 'test' AND accuracy IS NOT NULL ORDER BY round"
    )
    return [Progress(*row) for row in rows]


def bytes_by_round(ledger: Ledger) -> list[RoundBytes]:
    """Return the bytes of every round in which something was sent."""
    rows = ledger.query(
        "SELECT round, coalesce(sum(payload_bytes) FILTER (WHERE direction = 'up'), 0),"
        " coalesce(sum(payload_bytes) FILTER (WHERE direction = 'down'), 0)"
        " FROM message WHERE payload_bytes > 0 GROUP BY round ORDER BY round"
    )
    return [RoundBytes(*row) for row in rows]


def ladders(ledger: Ledger, direction: Direction) -> list[Ladder]:
    """Return one ladder a chain of stages, the most frequent first.

    A direction may know several chains: a first model is not sent as the steps after it are.
    """
    rows = ledger.query(
        "WITH chain AS (SELECT round, client, group_concat(stage, '|') AS stages FROM"
        " (SELECT round, client, stage FROM stage WHERE direction = ?1 ORDER BY round, client, position)"
        " GROUP BY round, client)"
        " SELECT stages, stage, count(*), avg(bytes) FROM stage JOIN chain USING (round, client)"
        " WHERE direction = ?1 GROUP BY stages, position ORDER BY stages, position",
        direction,
    )
    found = []
    for _, group in groupby(rows, key=lambda row: str(row[0])):
        steps = list(group)
        found.append(Ladder(direction, steps[0][2], tuple((stage, mean) for _, stage, _, mean in steps)))
    return sorted(found, key=lambda ladder: -ladder.messages)


def clients(ledger: Ledger, limit: int) -> list[ClientRow]:
    """Return the clients that cost most, at most `limit`; a round joined is one it replied in."""
    rows = ledger.query(
        "WITH refused AS (SELECT client, count(*) AS updates FROM rejection GROUP BY client)"
        " SELECT client, count(*), coalesce(sum(payload_bytes) FILTER (WHERE direction = 'up'), 0),"
        " coalesce(sum(payload_bytes) FILTER (WHERE direction = 'down'), 0),"
        " count(DISTINCT round) FILTER (WHERE direction = 'up' AND kind = 'train'),"
        " coalesce(max(updates), 0)"
        " FROM message LEFT JOIN refused USING (client)"
        " GROUP BY client ORDER BY sum(payload_bytes) DESC, client LIMIT ?",
        limit,
    )
    return [ClientRow(*row) for row in rows]


def rejections_by_code(ledger: Ledger) -> list[tuple[str, int, int, str]]:
    """Return code, number of updates, number of clients and one reason, the most frequent code first."""
    rows = ledger.query(
        "SELECT code, count(*), count(DISTINCT client), min(reason) FROM rejection"
        " GROUP BY code ORDER BY 2 DESC, 1"
    )
    return [(code, updates, by, reason) for code, updates, by, reason in rows]


def wire_bytes(ledger: Ledger) -> tuple[int | None, int | None]:
    """Return what a network carried up and down; None where there was none."""
    return ledger.totals("up").wire_bytes, ledger.totals("down").wire_bytes
