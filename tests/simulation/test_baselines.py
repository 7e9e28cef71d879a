"""The baselines see the very samples the clients saw, in order, and never a label before its time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phloem.config import Experiment
from phloem.federation import Federation, Samples
from phloem.ledger import Ledger
from phloem.simulation.baselines import (
    Chance,
    Majority,
    NoChange,
    Predictor,
    RiverAnomalies,
    Seen,
    anomalies_by_river,
    areas,
    by_river,
    hits,
    streams_seen,
)
from phloem.simulation.run import simulate
from phloem.sources import open_federation
from phloem.stream_rows import Baseline, Mix, Stream

SMALL = Experiment().with_values(
    {
        "data.clients": 3,
        "server.clients_per_round": 2,
        "run.rounds": 3,
        "run.reference": False,
        "model.hidden": 4,
    }
)


def of_labels(*labels: int) -> Samples:
    y = np.array(labels, np.int64)
    return Samples(np.stack([y, y], 1).astype(np.float32), y)


def seen(*labels: int, client: str = "0", number: int = 1, known: Samples | None = None) -> Seen:
    fresh = of_labels(*labels)
    return Seen(number, client, fresh, fresh if known is None else known)


def test_hand_worked() -> None:
    """Protects what the words mean: sample by sample, each device for itself, class 0 at first."""
    parts = [seen(0, 0, 1, 1, 1, 1), seen(1, 0, client="1", number=2)]
    assert [(row.samples, row.correct) for row in hits("a", Majority(), parts)] == [(6, 3), (2, 0)]
    assert [(row.samples, row.correct) for row in hits("b", NoChange(), parts)] == [(6, 5), (2, 0)]


def test_a_round_without_a_known_label_is_predicted() -> None:
    """Protects streams whose labels come late, or whose client had nothing new: no row is no error."""
    parts = [seen(1, 1, known=of_labels(1).take(slice(0))), Seen(2, "0", *[of_labels(1).take(slice(0))] * 2)]
    assert [(row.samples, row.correct) for row in hits("a", Majority(), parts)] == [(2, 0), (0, 0)]


@pytest.mark.parametrize("make", [Majority, NoChange])
def test_batches_change_nothing(make: Callable[[], Predictor]) -> None:
    """Protects the comparison: a baseline predicts each sample knowing all before it, however they came."""
    labels = np.random.default_rng(1).integers(0, 3, 60).tolist()
    whole = hits("x", make(), [seen(*labels)])[0].correct
    parts = hits("x", make(), [seen(*labels[i : i + 7]) for i in range(0, 60, 7)])
    assert [row.correct for row in parts] == [whole]


def test_labels_come_late_to_baselines_too() -> None:
    """Protects against a baseline that knows what no client knows yet."""
    late = [seen(0, 1, 1, known=of_labels(0)), seen(1, 0, number=2, known=of_labels(1, 1))]
    assert [row.correct for row in hits("x", NoChange(), late)] == [1, 0]


def test_a_pr_auc_of_chance_is_the_share_of_anomalies() -> None:
    """Protects the zero of the anomaly scale."""
    [row] = areas("chance", Chance(), [seen(0, 0, 2), seen(1, number=5)])
    assert row == Baseline(5, "chance", 4, None, 0.5)
    assert areas("chance", Chance(), [seen(0, 0)]) == []


@pytest.mark.parametrize("dry", ["repeat", "idle"])
def test_the_streams_are_the_clients(dry: str, tmp_path: Path) -> None:
    """Protects the very stream: what is replayed from the ledger is what each client was handed."""
    experiment = SMALL.with_values({"data.when_dry": dry, "client.samples_per_round": 300})
    folder = simulate(experiment, tmp_path / "run")
    federation = open_federation(experiment.data, experiment.run.seed)
    with Ledger.open(folder / "run.sqlite") as ledger:
        rows = ledger.read(Stream)
    parts = list(streams_seen(rows, federation, experiment))
    assert sum(len(part.fresh) for part in parts) == sum(row.samples for row in rows) > 0
    for client, share in enumerate(federation.shares):
        own = [part.fresh.y for part in parts if part.client == str(client)]
        labels = np.concatenate(own) if own else share.y[:0]
        np.testing.assert_array_equal(labels, np.resize(share.y, len(labels)))
        assert dry == "repeat" or len(labels) <= len(share)


@pytest.mark.parametrize("kind", ["none", "trivial", "river"])
def test_a_run_has_the_baselines_it_asks_for(kind: str, tmp_path: Path) -> None:
    """Protects the comparison beside every run, and that it changes nothing about the run."""
    folder = simulate(SMALL.with_values({"run.baselines": kind}), tmp_path / "run")
    with Ledger.open(folder / "run.sqlite") as ledger:
        rows = ledger.read(Baseline)
        streams = ledger.read(Stream)
        mixes = ledger.read(Mix)
    names = {"none": 0, "trivial": 2, "river": 4}[kind]
    assert len({row.name for row in rows}) == names
    assert len(rows) == 3 * names
    assert [sum(json.loads(row.labels)) for row in mixes] == [row.samples for row in streams] * (
        kind != "none"
    )
    for row in rows:
        assert row.samples == sum(stream.samples for stream in streams if stream.round == row.round)


def test_classes_that_have_names_are_named_in_the_ledger(tmp_path: Path) -> None:
    """Protects the report's legend: `cat`, where the data say so, not `class 0`."""
    rows = "".join(f"{n / 90},{n % 7},{('cat', 'dog')[n % 2]}\n" for n in range(90))
    (tmp_path / "pets.csv").write_text(f"a,b,label\n{rows}")
    folder = simulate(
        SMALL.with_values({"data.source": f"csv:{tmp_path / 'pets.csv'}", "run.rounds": 1}), tmp_path / "run"
    )
    with Ledger.open(folder / "run.sqlite") as ledger:
        assert ledger.facts()["class_names"] == '["cat", "dog"]'


def test_river_repeats_and_learns() -> None:
    """Protects equal figures for equal seeds, and that the adapters feed river what it needs."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 400)
    x = (rng.normal(size=(400, 3)) + 3 * y[:, None]).astype(np.float32)
    part = Seen(1, "0", Samples(x, y), Samples(x, y))
    for name in by_river(1):
        first, again = (hits(name, by_river(1)[name], [part])[0].correct for _ in range(2))
        assert first == again
        assert first is not None
        assert first > 340
    usual = Samples(rng.normal(size=(300, 3)).astype(np.float32), np.zeros(300, np.int64))
    odd = Samples(usual.x[:9] + 9, np.ones(9, np.int64))  # its first 250 samples have no score
    parts = [Seen(1, "0", usual, usual), Seen(2, "0", odd, odd)]
    name, trees = next(iter(anomalies_by_river(1).items()))
    [row] = areas(name, trees, parts)
    assert row.pr_auc is not None
    assert row.pr_auc > 0.5 > 9 / 309


@pytest.mark.parametrize("normal_only", [False, True])
def test_trees_learn_from_what_the_clients_learn_from(normal_only: bool) -> None:
    """Protects a fair comparison: where clients leave anomalies out of their lessons, so do the trees."""

    class Counted:
        learned = 0

        def learn_one(self, row: dict[int, float]) -> None:
            self.learned += 1

    trees = RiverAnomalies(model := Counted(), normal_only)
    for label in (0, 1, 0, 1, 1):
        trees.learn("0", np.zeros(2, np.float32), label)
    assert model.learned == (2 if normal_only else 5)


def test_a_federation_that_is_not_there_is_none(tmp_path: Path) -> None:
    """Protects a run in which nobody had a sample: no baseline, no error."""
    assert list(streams_seen([], _nobody(), SMALL)) == []


def _nobody() -> Federation:
    none = of_labels()
    return Federation((none,), none, none, none.x, 2, (2,))


def test_rounds_after_the_last_sample_stay_in_the_ledger(tmp_path: Path) -> None:
    """Protects the count of every byte: a stream that ends before the run takes no round with it."""
    wanted = {"data.when_dry": "idle", "data.rows": 60, "run.rounds": 6}
    folders = {kind: tmp_path / kind for kind in ("none", "trivial")}
    for kind, folder in folders.items():
        simulate(SMALL.with_values({**wanted, "run.baselines": kind}), folder)
    rounds = {}
    for kind, folder in folders.items():
        with Ledger.open(folder / "run.sqlite") as ledger:
            rounds[kind] = [
                ledger.query(f"SELECT DISTINCT round FROM {table} ORDER BY round")
                for table in ("round", "message", "evaluation")
            ]
            [(last,)] = ledger.query("SELECT max(round) FROM stream")
            assert last < 6, "or this shows nothing"
    assert rounds["trivial"] == rounds["none"]
