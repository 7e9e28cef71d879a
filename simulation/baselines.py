"""What predictors that are not federated make of the very samples the clients saw, in the order they came.

    ledger: who saw how many, round by round ─┐
    federation: the streams ──────────────────┴─> samples ─> predict, score, learn ─> a row a round

The trivial ones stand on each device and look at no input; those of river see all clients' samples in one
place, which no federated learner does. All of them predict before they learn, and get labels as late.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phloem.client.stream import stream_of
from phloem.config import Experiment
from phloem.ledger import CLASS_NAMES, Ledger
from phloem.measures.precision import average_precision
from phloem.protocol import client_order
from phloem.sources import Federation, Samples, open_federation
from phloem.stream_rows import Baseline, Mix, Stream
from phloem.summary import LEDGER_NAME

ANOMALIES = "autoencoder"
"""The model whose measure is PR-AUC: label 0 is normal, every other an anomaly."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw in a round: samples to predict, and those whose labels have come."""

    round: int
    client: str
    fresh: Samples
    known: Samples


class Predictor(Protocol):
    """Predicts one sample after another; `x` is flat."""

    def predict(self, client: str, x: NDArray[np.float32]) -> float:
        """Return a class or an anomaly score."""
        ...

    def learn(self, client: str, x: NDArray[np.float32], label: int) -> None:
        """Learn from a sample."""
        ...


@dataclass
class Majority:
    """A client's most frequent class so far; the least number of equals, and class 0 at first."""

    counts: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def predict(self, client: str, x: NDArray[np.float32]) -> int:
        """Return that class."""
        counts = self.counts[client]
        return min(counts, key=lambda label: (-counts[label], label), default=0)

    def learn(self, client: str, x: NDArray[np.float32], label: int) -> None:
        """Count."""
        self.counts[client][label] += 1


@dataclass
class NoChange:
    """A client's last known label; class 0 at first."""

    last: dict[str, int] = field(default_factory=dict)

    def predict(self, client: str, x: NDArray[np.float32]) -> int:
        """Return that label."""
        return self.last.get(client, 0)

    def learn(self, client: str, x: NDArray[np.float32], label: int) -> None:
        """Remember the label."""
        self.last[client] = label


class Chance:
    """Finds all samples equally anomalous, so that its PR-AUC is the share of anomalies."""

    def predict(self, client: str, x: NDArray[np.float32]) -> float:
        """Return 0."""
        return 0.0

    def learn(self, client: str, x: NDArray[np.float32], label: int) -> None:
        """Learn nothing."""


@dataclass(frozen=True)
class RiverClasses:
    """A classifier of river's, one for all clients."""

    model: Any

    def predict(self, client: str, x: NDArray[np.float32]) -> int:
        """Return its class; 0 while it knows none."""
        found = self.model.predict_one(_row(x))
        return 0 if found is None else int(found)

    def learn(self, client: str, x: NDArray[np.float32], label: int) -> None:
        """Learn the class."""
        self.model.learn_one(_row(x), label)


@dataclass(frozen=True)
class RiverAnomalies:
    """An anomaly detector of river's, one for all clients.

    It learns without labels, from normal samples alone where the clients do so.
    """

    model: Any
    normal_only: bool = False

    def predict(self, client: str, x: NDArray[np.float32]) -> float:
        """Return its score."""
        return float(self.model.score_one(_row(x)))

    def learn(self, client: str, x: NDArray[np.float32], label: int) -> None:
        """Learn what is usual."""
        if label == 0 or not self.normal_only:
            self.model.learn_one(_row(x))


def trivial() -> dict[str, Predictor]:
    """Return the predictors that look at no input."""
    return {"majority": Majority(), "no change": NoChange()}


def by_river(seed: int) -> dict[str, Predictor]:
    """Return the streams' standard learners: Bifet and Gavaldà 2009; Gomes et al. 2017."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that river looks for
        from river.forest import ARFClassifier
        from river.tree import HoeffdingAdaptiveTreeClassifier
    return {
        "Hoeffding adaptive tree": RiverClasses(HoeffdingAdaptiveTreeClassifier(seed=seed % 2**31)),
        "adaptive random forest": RiverClasses(ARFClassifier(n_models=10, seed=seed % 2**31)),
    }


def anomalies_by_river(seed: int, *, normal_only: bool = False) -> dict[str, Predictor]:
    """Return half-space trees (Tan, Ting and Liu 2011), with each input scaled to 0..1 as they need it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from river.anomaly import HalfSpaceTrees
        from river.preprocessing import MinMaxScaler
    trees = MinMaxScaler() | HalfSpaceTrees(seed=seed % 2**31)
    return {"half-space trees": RiverAnomalies(trees, normal_only)}


def add_baselines(experiment: Experiment, directory: Path) -> None:
    """Write what the baselines of `run.baselines` make of a finished run's streams into its ledger."""
    kind, seed = experiment.run.baselines, experiment.run.seed
    if kind == "none":
        return
    federation = open_federation(experiment.data, seed)
    path = directory / LEDGER_NAME
    with Ledger.open(path) as ledger:
        seen = list(streams_seen(ledger.read(Stream), federation, experiment))
    if not seen:
        return
    if experiment.model.name == ANOMALIES:
        normal_only = experiment.client.normal_only
        rivers = anomalies_by_river(seed, normal_only=normal_only) if kind == "river" else {}
        predictors = {"chance": Chance()} | rivers
    else:
        predictors = trivial() | (by_river(seed) if kind == "river" else {})
    judge = areas if experiment.model.name == ANOMALIES else hits
    found = [row for name, predictor in predictors.items() for row in judge(name, predictor, seen)]
    with Ledger.resume(path, last_round=None) as ledger:  # the last rounds may have had no samples
        ledger.record(*found, *(mix(part, federation.classes) for part in seen))
        if federation.class_names:
            ledger.fact(CLASS_NAMES, json.dumps(federation.class_names))


def streams_seen(rows: Iterable[Stream], federation: Federation, experiment: Experiment) -> Iterator[Seen]:
    """Yield what the clients saw, by round and in it by client, as far as the server was told."""
    streams = [
        stream_of(federation, share, experiment.data.when_dry) for share in range(len(federation.shares))
    ]
    for row in sorted(rows, key=lambda row: (row.round, client_order(row.client))):
        stream = streams[int(row.client)]
        passed = row.samples + (row.skipped if federation.feeds else 0)
        fresh, after = stream.next(row.position - passed, passed)
        yield Seen(row.round, row.client, fresh, stream.labelled(row.position - passed, after))


def mix(part: Seen, classes: int) -> Mix:
    """Return the row of the classes that came to a client in a round."""
    counts = np.bincount(part.fresh.y, minlength=classes).tolist()
    return Mix(part.round, part.client, json.dumps(counts, separators=(",", ":")))


def hits(name: str, predictor: Predictor, seen: Iterable[Seen]) -> list[Baseline]:
    """Return a row a round of how many classes were predicted right."""
    correct, samples = Counter[int](), Counter[int]()
    for part in seen:
        predicted = _play(predictor, part)
        correct[part.round] += int((predicted == part.fresh.y).sum())
        samples[part.round] += len(predicted)
    return [Baseline(number, name, samples[number], correct[number], None) for number in samples]


def areas(name: str, predictor: Predictor, seen: Iterable[Seen]) -> list[Baseline]:
    """Return one row, of the last round: the PR-AUC of the scores of all samples."""
    scores, marks, last = [], [], 0
    for part in seen:
        scores.append(_play(predictor, part))
        marks.append(part.fresh.y != 0)
        last = part.round
    area = average_precision(np.concatenate(scores), np.concatenate(marks)) if scores else None
    return [] if area is None else [Baseline(last, name, sum(map(len, scores)), None, area)]


def _play(predictor: Predictor, part: Seen) -> NDArray[np.float64]:
    """Return what it predicts for each new sample, before it learns from the labels that came with it."""
    fresh, known = (s.x.reshape(len(s), math.prod(s.x.shape[1:])) for s in (part.fresh, part.known))
    unlabelled = len(fresh) - len(known)  # the first ones of a stream whose labels come late
    found = np.zeros(len(fresh))
    for i, x in enumerate(fresh):
        found[i] = predictor.predict(part.client, x)
        if (late := i - unlabelled) >= 0:
            predictor.learn(part.client, known[late], int(part.known.y[late]))
    return found


def _row(x: NDArray[np.float32]) -> dict[int, float]:
    return dict(enumerate(x.tolist()))
