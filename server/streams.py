"""What clients tell of their streams: checked, then written down as rows of the ledger.

It is not about the model: who lies here spoils a figure in the report, and nothing else. So it has to be
possible, and small enough to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from phloem.compression.update import Update
from phloem.errors import ProtocolError, RejectedUpdate
from phloem.federation import Federation, Samples
from phloem.learning import Model
from phloem.ledger import Ledger
from phloem.measures.histogram import unpack_counts
from phloem.protocol import Reply
from phloem.stream_rows import AnomalyScores, Concept, Drift, Stream, StreamRow

LARGEST = 2**62
"""No count or size of a client's is above this, so that a ledger holds it."""


def check_told(reply: Reply, classes: int, max_samples: int) -> None:
    """Check what a reply says of its stream; its samples have been checked.

    Raises:
        RejectedUpdate: `weight`.
    """
    counts = reply.predicted_counts
    if len(counts) not in (0, 4 * classes) or _total(counts) > reply.samples:
        raise RejectedUpdate(
            "weight", f"Predicted counts should be {classes} numbers that sum to {reply.samples} at most."
        )
    try:
        scored = int(unpack_counts(reply.score_histogram).sum())
    except ProtocolError as error:
        raise RejectedUpdate("weight", str(error)) from None
    if scored > reply.samples:
        raise RejectedUpdate(
            "weight", f"At most {reply.samples} samples should have a score. Found {scored}."
        )
    if not (
        0 <= reply.alarms <= reply.samples
        and 0 <= reply.skipped <= max_samples
        and 0 <= reply.memory_bytes <= LARGEST
        and 0 <= reply.fidelity <= 1
    ):
        raise RejectedUpdate(
            "weight",
            f"Alarms should be in 0..{reply.samples}, skipped rows in 0..{max_samples} and bytes kept in "
            f"0..2^62, and fidelity in 0..1. Found {reply.alarms}, {reply.skipped}, {reply.memory_bytes} and "
            f"{reply.fidelity:g}.",
        )


def stream_rows(
    ledger: Ledger, server_round: int, replies: Iterable[Reply], federation: Federation
) -> list[StreamRow]:
    """Return the rows of what the clients told in a round; the ledger holds the rounds before."""
    found: list[StreamRow] = []
    for reply in replies:
        if reply.samples == reply.skipped == 0:
            continue
        before = _position(ledger, reply.client)
        # In a feed a position counts rows, bad ones included; of a share they were left out before.
        after = before + reply.samples + (reply.skipped if federation.feeds else 0)
        share = int(reply.client) if reply.client.isdecimal() else len(federation.shares)
        known = share < len(federation.shares)  # the source may not say what a device of its own name has
        found.append(
            Stream(
                round=server_round,
                client=reply.client,
                position=after,
                concept=federation.concept_at(share, max(after - 1, 0)) if known else 0,
                samples=reply.samples,
                correct=reply.correct,
                loss=reply.loss,
                labels=_by_class(reply.class_counts),
                predicted=_by_class(reply.predicted_counts),
                alarms=reply.alarms,
                skipped=reply.skipped,
                memory_bytes=reply.memory_bytes,
            )
        )
        if known:
            found += [
                Drift(server_round, reply.client, "scenario", place, what)
                for place, what in drifts_between(federation, share, before, after)
            ]
        if reply.alarms:
            found.append(Drift(server_round, reply.client, "detector", after, str(reply.alarms)))
        if reply.score_histogram:
            normal, anomalous = unpack_counts(reply.score_histogram)
            found.append(AnomalyScores(server_round, reply.client, _by_bin(normal), _by_bin(anomalous)))
    return found


def drifts_between(federation: Federation, share: int, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the position and cause of each change of a stream in `start <= position < end`.

    A stream that is used up begins again: its changes come again as well, and the new beginning is a change
    itself where it is not under the concept of the end.
    """
    length = len(federation.shares[share])
    changes = {drift.position: drift.cause for drift in federation.drifts if drift.client == share}
    if not changes or not length or federation.feeds:
        yield from ((place, cause) for place, cause in sorted(changes.items()) if start <= place < end)
        return
    for again in range(start // length, (end - 1) // length + 1):
        first = again * length
        begins = again and federation.concept_at(share, 0) != federation.concept_at(share, length - 1)
        if begins and start <= first < end and 0 not in changes:
            yield first, "again"
        yield from (
            (first + place, cause) for place, cause in sorted(changes.items()) if start <= first + place < end
        )


def concept_rows(
    server_round: int, learner: Model, weights: Update, federation: Federation, model: int = 0
) -> list[StreamRow]:
    """Return a row a concept of how well `weights`, global model number `model`, know it; none for one."""
    if federation.concept_count == 1:
        return []
    scored = [
        (concept, learner.score(weights, _concept_test(federation, concept)))
        for concept in range(federation.concept_count)
    ]
    return [
        Concept(server_round, concept, model, scores.samples, scores.loss, scores.accuracy)
        for concept, scores in scored
        if scores.samples
    ]


@lru_cache(maxsize=64)
def _concept_test(federation: Federation, concept: int) -> Samples:
    return federation.concept_test(concept)  # a process makes it once


def _position(ledger: Ledger, client: str) -> int:
    last = ledger.query("SELECT position FROM stream WHERE client = ? ORDER BY round DESC LIMIT 1", client)
    return last[0][0] if last else 0


def _total(counts: bytes) -> int:
    return int(np.frombuffer(counts, "<u4").sum(dtype=np.uint64))


def _by_class(counts: bytes) -> str | None:
    return json.dumps(np.frombuffer(counts, "<u4").tolist(), separators=(",", ":")) if counts else None


def _by_bin(counts: np.ndarray) -> str:
    held = np.flatnonzero(counts)
    return json.dumps({str(place): int(counts[place]) for place in held}, separators=(",", ":"))
