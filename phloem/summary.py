"""What a run came to: the object that `phloem simulate --json` prints, read from the run's ledgers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phloem.ledger import Direction, Ledger
from phloem.stream_summary import Streams, summarise_streams

LEDGER_NAME = "run.sqlite"
REFERENCE_NAME = "reference"
WIDTH_FACT = "width_"
"""How the ledger's facts on narrower networks begin (`submodel.widths`)."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The bytes of one direction, greetings included.

    `dense_bytes` is what the train messages would have been as plain float32, `saved_ratio` that
    over `payload_bytes`, or None where nothing was sent.
    """

    payload_bytes: int
    object_bytes: int
    dense_bytes: int
    saved_ratio: float | None


@dataclass(frozen=True, slots=True)
class Reference:
    """The run with nothing compressed, made beside the run with the same seed."""

    accuracy: float | None
    accuracy_mean5: float | None
    uplink: Traffic
    downlink: Traffic


@dataclass(frozen=True, slots=True)
class Width:
    """What clients with a part of the network have: its share of the parameters, and its test accuracy."""

    share: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in one object; accuracies are of the test split, in 0..1, or None where there was no evaluation.

    `accuracy` is the last evaluation and `accuracy_mean5` the mean of the last five, `rejected` the
    updates that were not aggregated, `seconds` the sum over the rounds, and
    `client_updates_per_second` the updates that were aggregated over these seconds. `streams` is what the
    clients told of the samples they learned from. `rejections` counts `rejected` by code, and `why_rejected`
    is the last one's reason. `abandoned` counts the rounds in which nothing was applied though somebody was
    refused: no reply was usable, or fewer than `server.quorum` asks for.
    """

    accuracy: float | None
    accuracy_mean5: float | None
    rounds: int
    clients: int
    rejected: int
    uplink: Traffic
    downlink: Traffic
    reference: Reference | None
    seconds: float
    client_updates_per_second: float | None
    model_sha256: str | None
    ledger_sha256: str
    run_dir: str
    streams: Streams | None = None
    rejections: Mapping[str, int] = field(default_factory=dict)
    why_rejected: str | None = None
    settled: bool = True
    """Whether those five evaluations are all of the second half of the run: else their mean says nothing."""
    abandoned: int = 0
    widths: Mapping[str, Width] = field(default_factory=dict)
    """By width, where clients have parts of the network."""

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON would hold it."""
        return asdict(self)


def summarise(run_dir: Path) -> Summary:
    """Sum up the run in a folder, and the dense reference in its folder `reference` where that is finished.

    Raises:
        ConfigError: the folder holds no ledger that this version reads.
    """
    beside = run_dir / REFERENCE_NAME / LEDGER_NAME
    reference = None
    if beside.exists():
        with Ledger.open(beside) as ledger:
            if ledger.facts().get("state", "finished") == "finished":  # less of it would be no comparison
                reference = Reference(*_accuracies(ledger), _traffic(ledger, "up"), _traffic(ledger, "down"))
    with Ledger.open(run_dir / LEDGER_NAME) as ledger:
        facts = ledger.facts()
        accuracy, accuracy_mean5 = _accuracies(ledger)
        settled = _settled(ledger)
        [(rounds, accepted, rejected, seconds, abandoned)] = ledger.query(
            "SELECT count(*), coalesce(sum(accepted), 0), coalesce(sum(rejected), 0),"
            " coalesce(sum(seconds), 0.0), coalesce(sum(accepted = 0 AND rejected > 0), 0)"
            " FROM round WHERE round > 0"
        )
        rejections = ledger.query("SELECT code, count(*) FROM rejection GROUP BY code ORDER BY 2 DESC, 1")
        reasons = ledger.query(
            "SELECT round, client, reason FROM rejection ORDER BY round DESC, client DESC LIMIT 1"
        )
        [(heard,)] = ledger.query("SELECT count(DISTINCT client) FROM message")
        return Summary(
            accuracy=accuracy,
            accuracy_mean5=accuracy_mean5,
            settled=settled,
            rounds=rounds,
            clients=int(facts.get("clients", heard)),
            rejected=rejected,
            uplink=_traffic(ledger, "up"),
            downlink=_traffic(ledger, "down"),
            reference=reference,
            seconds=seconds,
            client_updates_per_second=accepted / seconds if seconds > 0 else None,
            model_sha256=facts.get("model_sha256"),
            ledger_sha256=ledger.digest(),
            run_dir=str(run_dir),
            streams=summarise_streams(ledger),
            rejections=dict(rejections),
            why_rejected="round {}, client {}: {}".format(*reasons[0]) if reasons else None,
            abandoned=abandoned,
            widths=_widths(facts),
        )


def _widths(facts: Mapping[str, str]) -> dict[str, Width]:
    told = {key.removeprefix(WIDTH_FACT): text for key, text in facts.items() if key.startswith(WIDTH_FACT)}
    return {width: Width(*map(float, text.split())) for width, text in told.items()}


def _settled(ledger: Ledger) -> bool:
    [(first,)] = ledger.query(
        "SELECT min(round) FROM (SELECT round FROM evaluation WHERE split = 'test' AND accuracy IS NOT NULL"
        " ORDER BY round DESC LIMIT 5)"
    )
    [(rounds,)] = ledger.query("SELECT coalesce(max(round), 0) FROM round")
    return first is None or 2 * first > rounds


def _accuracies(ledger: Ledger) -> tuple[float | None, float | None]:
    if ledger.query("SELECT 1 FROM anomaly_scores LIMIT 1"):
        return None, None  # nothing is classified: 0 hits would read as a failure
    last = [
        accuracy
        for (accuracy,) in ledger.query(
            "SELECT accuracy FROM evaluation WHERE split = 'test' AND accuracy IS NOT NULL"
            " ORDER BY round DESC LIMIT 5"
        )
    ]
    return (last[0], sum(last) / len(last)) if last else (None, None)


def _traffic(ledger: Ledger, direction: Direction) -> Traffic:
    totals = ledger.totals(direction)
    saved = totals.dense_bytes / totals.payload_bytes if totals.payload_bytes else None
    return Traffic(totals.payload_bytes, totals.object_bytes, totals.dense_bytes, saved)
