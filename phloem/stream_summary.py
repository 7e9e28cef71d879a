"""What a run came to as a stream: read from its ledger, measured by `phloem.measures`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.ledger import Ledger
from phloem.measures.concepts import backward_transfer, final_accuracy, forgetting
from phloem.measures.detection import NOTHING, Detection, judge_alarms
from phloem.measures.histogram import BINS
from phloem.measures.kappa import cohens_kappa, skill
from phloem.measures.precision import Area, area_from_bins
from phloem.measures.prequential import faded
from phloem.measures.spread import worst_mean
from phloem.stream_rows import AnomalyScores, Concept, Drift, Stream

HORIZON = 1000
"""How many samples after a drift an alarm is taken for its echo, not for a false one."""

NO_CHANGE = "no change"


@dataclass(frozen=True, slots=True)
class Compared:
    """A baseline on the same samples: `accuracy` in 0..1 or `pr_auc`, whichever is its measure."""

    accuracy: float | None
    pr_auc: float | None


@dataclass(frozen=True, slots=True)
class Streams:
    """The clients' streams in numbers; None where the run has no data for one.

    Accuracies are prequential, in 0..1: all samples alike in `accuracy`, fading by 0.999 a sample in
    `accuracy_faded`, the mean over the worst tenth of clients in `worst_clients`. `kappa_temporal` is
    against the no-change predictor. `delay` is the median over drifts that were noticed, in samples up to
    the end of the round in which the server heard; `alarms_false_per_1000` counts alarms that no drift
    in the last 1,000 samples explains. The accuracies of concepts are those of the global model.
    """

    samples: int
    clients: int
    accuracy: float | None
    accuracy_faded: float | None
    worst_clients: float | None
    kappa: float | None
    kappa_temporal: float | None
    pr_auc: Area | None
    drifts: int
    alarms: int
    drifts_missed: int | None
    delay: float | None
    alarms_false_per_1000: float | None
    concepts: int
    concepts_accuracy: float | None
    forgetting: float | None
    backward_transfer: float | None
    skipped: int
    memory_bytes: int
    baselines: dict[str, Compared]


def summarise_streams(ledger: Ledger) -> Streams | None:
    """Return what a ledger says of the streams; None where no client told of a sample."""
    [(samples, clients, correct, skipped, memory, alarms)] = ledger.query(
        "SELECT coalesce(sum(samples), 0), count(DISTINCT client), sum(correct), sum(skipped),"
        " max(memory_bytes), sum(alarms) FROM stream"
    )
    if not samples:
        return None
    area = anomaly_area(ledger)
    baselines = compared(ledger)
    accuracy = correct / samples if area is None else None
    matrix = accuracy_matrix(ledger.read(Concept), ledger.read(Stream))
    found = detection(ledger)
    drifts = len(found.delays) + found.missed
    still = baselines.get(NO_CHANGE)
    return Streams(
        samples=samples,
        clients=clients,
        accuracy=accuracy,
        accuracy_faded=None if area is not None else _last_faded(ledger),
        worst_clients=None if area is not None else worst_mean(client_accuracies(ledger)),
        kappa=_kappa(ledger),
        kappa_temporal=(
            skill(accuracy, still.accuracy)
            if accuracy is not None and still is not None and still.accuracy is not None
            else None
        ),
        pr_auc=area,
        drifts=drifts,
        alarms=alarms,
        drifts_missed=found.missed if drifts else None,
        delay=found.median_delay,
        alarms_false_per_1000=found.false_alarms_per_1000 if alarms or drifts else None,
        concepts=0 if matrix is None else len(matrix),
        concepts_accuracy=None if matrix is None else final_accuracy(matrix),
        forgetting=None if matrix is None else forgetting(matrix),
        backward_transfer=None if matrix is None else backward_transfer(matrix),
        skipped=skipped,
        memory_bytes=memory,
        baselines=baselines,
    )


def compared(ledger: Ledger) -> dict[str, Compared]:
    """Return each baseline's measure over all samples, by name."""
    found = ledger.query(
        "SELECT name, sum(correct) * 1.0 / sum(samples), max(pr_auc) FROM baseline"
        " GROUP BY name ORDER BY name"
    )
    return {name: Compared(accuracy, area) for name, accuracy, area in found}


def client_accuracies(ledger: Ledger) -> list[float]:
    """Return each client's prequential accuracy, in no order that matters."""
    rows = ledger.query(
        "SELECT sum(correct) * 1.0 / sum(samples) FROM stream GROUP BY client HAVING sum(samples) > 0"
    )
    return [accuracy for (accuracy,) in rows]


def anomaly_area(ledger: Ledger, first: int = 0, last: int | None = None) -> Area | None:
    """Return the PR-AUC of all clients' scores in some rounds, or all, merged from their histograms."""
    counts = np.zeros((2, BINS), np.int64)
    for row in ledger.read(AnomalyScores):
        if first <= row.round and (last is None or row.round <= last):
            for kind, text in enumerate((row.normal, row.anomalous)):
                for place, count in json.loads(text).items():
                    counts[kind, int(place)] += count
    return area_from_bins(counts[0], counts[1])


def detection(ledger: Ledger) -> Detection:
    """Return what the clients' alarms were worth, over all their streams."""
    places: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row in ledger.read(Drift):
        times = 1 if row.origin == "scenario" else int(row.what)
        places[row.client][row.origin == "detector"].extend([row.position] * times)
    ends = ledger.query("SELECT client, max(position) FROM stream GROUP BY client ORDER BY client")
    return sum((judge_alarms(*places[client], end, HORIZON) for client, end in ends), NOTHING)


def accuracy_matrix(scores: Iterable[Concept], streams: Iterable[Stream]) -> NDArray[np.float64] | None:
    """Return the accuracy on concept `j` when concept `i` had been learned, shape `(T, T)`.

    A concept has been learned at the last evaluated round in which it was in force for most clients that
    learned; concepts are in the order of that. None for fewer than two of them. Where there are several
    global models, the best of them counts, as a client may have any.
    """
    rounds: dict[int, Counter[int]] = defaultdict(Counter)
    for row in streams:
        rounds[row.round][row.concept] += 1
    known: dict[int, dict[int, float]] = defaultdict(dict)
    for score in scores:
        known[score.round][score.concept] = max(score.accuracy, known[score.round].get(score.concept, 0.0))
    learned: dict[int, int] = {}
    for number in sorted(known):
        if counts := rounds.get(number):  # the least of equals
            learned[min(counts, key=lambda concept: (-counts[concept], concept))] = number
    order = sorted(
        (concept for concept in learned if concept in known[learned[concept]]), key=learned.__getitem__
    )
    if len(order) < 2:
        return None
    return np.array([[known[learned[row]].get(column, np.nan) for column in order] for row in order])


def _last_faded(ledger: Ledger) -> float | None:
    rows = ledger.query("SELECT sum(correct), sum(samples) FROM stream GROUP BY round ORDER BY round")
    value = float(faded([right for right, _ in rows], [count for _, count in rows])[-1])
    return None if np.isnan(value) else value


def _kappa(ledger: Ledger) -> float | None:
    """Return Cohen's kappa over the rows that came with counts by class."""
    [(correct,)] = ledger.query(
        "SELECT sum(correct) FROM stream WHERE labels IS NOT NULL AND predicted IS NOT NULL"
    )
    if correct is None:
        return None
    margins = [
        ledger.query(
            f"SELECT sum(j.value) FROM stream, json_each(stream.{column}) AS j"
            " WHERE labels IS NOT NULL AND predicted IS NOT NULL"
            " GROUP BY CAST(j.key AS INTEGER) ORDER BY CAST(j.key AS INTEGER)"
        )
        for column in ("labels", "predicted")
    ]
    labels, predicted = (np.array(margin).ravel() for margin in margins)
    if labels.shape != predicted.shape or labels.sum() != predicted.sum() or correct > labels.sum():
        return None  # some client counted otherwise than it scored
    return cohens_kappa(correct, labels, predicted)
