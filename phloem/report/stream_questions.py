"""What the report asks the ledger about the clients' streams: plain rows in, numbers out."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.ledger import Ledger
from phloem.measures.cost import bytes_per_point, bytes_to_reach
from phloem.measures.prequential import faded, windowed
from phloem.protocol import client_order
from phloem.report.questions import Progress
from phloem.stream_rows import Concept, Stream
from phloem.stream_summary import accuracy_matrix, anomaly_area

WINDOW = 1000
PARTS = 24
"""Into how many columns the picture of a scenario is cut."""


@dataclass(frozen=True, slots=True)
class Curve:
    """An accuracy after each round in which samples came: fading, and over the last 1,000 samples."""

    name: str
    rounds: tuple[int, ...]
    faded: tuple[float, ...]
    windowed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A change or an alarm in a client's stream."""

    round: int
    client: str
    position: int
    true: bool
    what: str


@dataclass(frozen=True, slots=True)
class ClientScore:
    """A client's prequential accuracy over all its samples, and what it kept at most."""

    client: str
    accuracy: float
    samples: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MixPart:
    """The share of each class that came to a client in a part of the run; `part` counts from 0."""

    client: str
    part: int
    first_round: int
    last_round: int
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a measure came to and what it cost, both directions together."""

    measure: str
    before: float
    after: float
    per_point: float | None
    reached: tuple[tuple[float, int | None], ...]
    """For some targets, the bytes sent when the measure first reached them."""


def curves(ledger: Ledger) -> list[Curve]:
    """Return the run's prequential accuracy, then each baseline's; none where anomalies are the measure."""
    if anomaly_area(ledger) is not None:
        return []
    found = {
        "This run": ledger.query(
            "SELECT round, sum(correct), sum(samples) FROM stream GROUP BY round"
            " HAVING sum(samples) > 0 ORDER BY round"
        )
    }
    for (name,) in ledger.query("SELECT DISTINCT name FROM baseline WHERE correct IS NOT NULL ORDER BY name"):
        found[name] = ledger.query(
            "SELECT round, correct, samples FROM baseline WHERE name = ? ORDER BY round", name
        )
    return [_curve(name, rows) for name, rows in found.items() if rows]


def events(ledger: Ledger) -> list[Event]:
    """Return all changes and alarms, by client and position."""
    rows = ledger.query("SELECT round, client, position, origin = 'scenario', what FROM drift")
    found = [Event(number, client, place, bool(true), what) for number, client, place, true, what in rows]
    return sorted(found, key=lambda event: (client_order(event.client), event.position, event.true))


def deeds(ledger: Ledger) -> dict[str, int]:
    """Return how often the server did what about a client with an alarm."""
    return dict(ledger.query("SELECT deed, count(*) FROM reaction GROUP BY deed ORDER BY deed"))


def client_scores(ledger: Ledger) -> list[ClientScore]:
    """Return the clients' accuracies, the worst first; none where anomalies are the measure."""
    if anomaly_area(ledger) is not None:
        return []
    rows = ledger.query(
        "SELECT client, sum(correct) * 1.0 / sum(samples), sum(samples), max(memory_bytes) FROM stream"
        " GROUP BY client HAVING sum(samples) > 0"
    )
    return sorted((ClientScore(*row) for row in rows), key=lambda s: (s.accuracy, client_order(s.client)))


def matrix(ledger: Ledger) -> NDArray[np.float64] | None:
    """Return the accuracy on each concept after each was learned."""
    return accuracy_matrix(ledger.read(Concept), ledger.read(Stream))


def mixes(ledger: Ledger, most_clients: int) -> list[MixPart]:
    """Return the classes that came to the first clients over time; none where nobody knows them."""
    rows = ledger.query("SELECT round, client, labels FROM mix") or ledger.query(
        "SELECT round, client, labels FROM stream WHERE labels IS NOT NULL"
    )
    if not rows:
        return []
    names = sorted({client for _, client, _ in rows}, key=client_order)[:most_clients]
    first, last = min(row[0] for row in rows), max(row[0] for row in rows)
    parts = min(PARTS, last - first + 1)
    counts: dict[tuple[str, int], list[NDArray[np.int64]]] = defaultdict(list)
    for number, client, labels in rows:
        counts[client, (number - first) * parts // (last - first + 1)].append(np.array(json.loads(labels)))
    found = []
    for client in names:
        for part in range(parts):
            total = np.sum(counts[client, part], axis=0) if (client, part) in counts else np.zeros(0)
            if total.sum() > 0:
                # The rounds n with (n - first) * parts // span == part.
                starts = [-(-place * (last - first + 1) // parts) + first for place in (part, part + 1)]
                shares = tuple((total / total.sum()).tolist())
                found.append(MixPart(client, part, starts[0], starts[1] - 1, shares))
    return found


def costs(ledger: Ledger, progress: list[Progress]) -> list[Cost]:
    """Return what the measures that rise over a run cost; none before there are two values of one."""
    sent = dict(ledger.query("SELECT round, sum(payload_bytes) FROM message GROUP BY round ORDER BY round"))
    total = np.cumsum(list(sent.values()))
    until = dict(zip(sent, total.tolist(), strict=True))
    lines = {"Test accuracy": [(row.cumulative_bytes, row.accuracy) for row in progress]}
    for curve in curves(ledger)[:1]:
        lines["Prequential"] = [
            (until.get(number, 0), value) for number, value in zip(curve.rounds, curve.faded, strict=True)
        ]
    found = []
    for measure, points in lines.items():
        if len(points) > 1:
            (_, before), (size, after) = points[0], points[-1]
            best = max(value for _, value in points)
            targets = [target / 100 for target in (50, 60, 70, 80, 90, 95) if before < target / 100 <= best]
            reached = tuple((target, bytes_to_reach(target, points)) for target in targets)
            found.append(Cost(measure, before, after, bytes_per_point(size, before, after), reached))
    return found


def area_by_part(ledger: Ledger) -> list[tuple[int, float, float, float]]:
    """Return (last round, value, low, high) of the PR-AUC in each twelfth of the run that has an anomaly."""
    rounds = [
        number for (number,) in ledger.query("SELECT DISTINCT round FROM anomaly_scores ORDER BY round")
    ]
    found = []
    for part in np.array_split(rounds, min(12, len(rounds))) if rounds else []:
        area = anomaly_area(ledger, int(part[0]), int(part[-1]))
        if area is not None:
            found.append((int(part[-1]), area.value, area.low, area.high))
    return found


def _curve(name: str, rows: list[tuple[int, int, int]]) -> Curve:
    rounds, correct, samples = zip(*rows, strict=True)
    return Curve(
        name,
        rounds,
        tuple(faded(correct, samples).tolist()),
        tuple(windowed(correct, samples, WINDOW).tolist()),
    )
