"""Forgetting and drift on digits: what a replay buffer, a detector and a reaction to it are worth.

    python benchmarks/streams.py classes        five tasks of two classes, one after the other: a minute
    python benchmarks/streams.py drift          six labels permuted half-way: three minutes
    python benchmarks/streams.py precision      what bfloat16 costs or saves in training: seconds

Every run is a simulation as `phloem simulate` makes it, with updates in plain float32 unless `--compressed`
says to use phloem's default codecs, and every figure is read from its ledger. `classes`: accuracy on all
five tasks at the end, and how far each fell from its best. `drift`: samples from the change to the first
alarm; alarms on streams without one; accuracy on the changed test set 1,000 samples after the change.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phloem.config import DataConfig, Experiment
from phloem.federation import Federation
from phloem.learning import open_learner
from phloem.measures.concepts import final_accuracy, forgetting
from phloem.measures.detection import NOTHING, Detection, judge_alarms
from phloem.scenario import scenario
from phloem.seeds import generator
from phloem.simulation.data.federate import federate
from phloem.simulation.data.play import play
from phloem.simulation.run import simulate
from phloem.sources import open_federation

Settings = dict[str, object]
Figures = dict[str, float]
Rows = Callable[..., list[Any]]

COMMON: Settings = {
    "data.partition": "iid",
    "data.when_dry": "idle",
    "data.validation_fraction": 0.0,
    "data.proxy_fraction": 0.0,
    "model.hidden": "128,64",
    "client.samples_per_round": 10,
    "client.batch_size": 10,
    "client.epochs": 3,
    "client.learning_rate": 0.2,
    "client.replay_inputs": "pixels",
    "server.clients_per_round": 0,
    "run.reference": False,
    "run.baselines": "none",
}
PLAIN: Settings = {"uplink.codec": "dense", "downlink.codec": "dense", "downlink.anchor": "dense"}
RESERVOIR: Settings = {"client.replay": "reservoir"}

CLASSES: dict[str, Settings] = {
    "fine-tuning": {},
    "reservoir, 50": RESERVOIR,
    "DER++, 50": {"client.replay": "der", "client.logit_strength": 1.0},
    "LwF": {"client.retain": "lwf"},
    "EWC": {"client.retain": "ewc", "client.retain_strength": 10.0},
}

LENGTH, CHANGE, LATER, HORIZON = 3000, 1500, 1000, 500
STALE: Settings = {**RESERVOIR, "client.replay_samples": 200}
DRIFT: dict[str, Settings] = {
    "no replay": {},
    "stale replay": STALE,
    **{name: {**STALE, "client.detector": name} for name in ("adwin", "hddm_w", "page_hinkley")},
}


def long_digits(data: DataConfig, seed: int) -> Federation:
    """Return digits with streams of `LENGTH` samples, each pass over a client's own ones shuffled anew."""
    found = federate(data.model_copy(update={"source": "digits", "scenario": ""}), seed)
    shares = []
    for client, share in enumerate(found.shares):
        rng = generator(seed, "passes", client)
        passes = -(-LENGTH // len(share))
        order = np.concatenate([rng.permutation(len(share)) for _ in range(passes)])[:LENGTH]
        shares.append(share.take(order))
    return play(replace(found, shares=tuple(shares)), scenario(data.scenario), seed)


def classes(values: Settings, clients: int, seed: int) -> Figures:
    """Return the figures of a run in which the classes come task by task."""
    settings = {**COMMON, **values, "data.scenario": "tasks:5", "data.clients": clients, "run.rounds": 150}
    with ledger(settings, seed) as rows:
        begins = rows("SELECT position FROM drift WHERE origin = 'scenario' AND client = '0' ORDER BY 1")
        asked = "SELECT max(round) FROM stream WHERE client = '0' AND position <= ?"
        ends = [rows(asked, (position,))[0][0] for (position,) in begins]
        ends.append(rows("SELECT max(round) FROM stream WHERE samples > 0")[0][0])
        matrix = np.zeros((len(ends), len(ends)))
        for task, end in enumerate(ends):
            for concept, accuracy in rows("SELECT concept, accuracy FROM concept WHERE round = ?", (end,)):
                matrix[task, concept] = accuracy
        return {
            "accuracy": final_accuracy(matrix),
            "forgetting": forgetting(matrix) or 0.0,
            "memory_bytes": rows("SELECT max(memory_bytes) FROM stream")[0][0],
            "up_bytes": rows("SELECT sum(payload_bytes) FROM message WHERE direction = 'up'")[0][0],
        }


def drift(values: Settings, clients: int, seed: int, *, still: bool) -> tuple[Figures, Detection]:
    """Return the figures of a run whose labels are permuted half-way, or never, and its alarms' worth."""
    settings = {
        **COMMON,
        **values,
        "data.source": "streams:long_digits",
        "data.scenario": "" if still else f"swap:at={CHANGE},classes=0.6",
        "data.clients": clients,
        "server.evaluate_every": 50,
        "run.rounds": LENGTH // 10,
    }
    with ledger(settings, seed) as rows:
        found = NOTHING
        for client in range(clients):
            mine = "SELECT position FROM drift WHERE origin = ? AND client = ?"
            true, alarms = (
                [position for (position,) in rows(mine, (origin, str(client)))]
                for origin in ("scenario", "detector")
            )
            found += judge_alarms(true, alarms, LENGTH, HORIZON)
        if still:
            return {}, found
        after = (CHANGE + LATER) // 10
        [(accuracy,)] = rows("SELECT accuracy FROM concept WHERE round = ? AND concept = 1", (after,))
        [(hits, seen)] = rows(
            "SELECT sum(correct), sum(samples) FROM stream WHERE position > ? AND position <= ?",
            (CHANGE, CHANGE + LATER),
        )
        return {"accuracy": accuracy, "prequential": hits / seen}, found


@contextmanager
def ledger(settings: Settings, seed: int) -> Iterator[Rows]:
    """Simulate, and offer the ledger's rows by SQL."""
    experiment = Experiment().with_values({**settings, "run.seed": seed})
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        simulate(experiment, directory)
        with closing(sqlite3.connect(directory / "run.sqlite")) as connection:
            yield lambda sql, values=(): connection.execute(sql, values).fetchall()


def show(name: str, figures: Sequence[Figures]) -> Figures:
    """Print a line of means with their standard deviations over seeds; return the means."""
    means = {key: statistics.mean(each[key] for each in figures) for key in figures[0]}
    words = []
    for key, mean in means.items():
        if key.endswith("_bytes"):
            words.append(f"{key} {mean:,.0f}")
        else:
            words.append(f"{key} {100 * mean:5.1f} ± {100 * statistics.pstdev(f[key] for f in figures):4.1f}")
    print(f"{name:14} {'   '.join(words)}", flush=True)
    return means


def all_classes(base: Settings, clients: int, seeds: Sequence[int]) -> dict[str, Figures]:
    """Run every way to remember."""
    return {
        name: show(name, [classes({**base, **values}, clients, seed) for seed in seeds])
        for name, values in CLASSES.items()
    }


def all_drift(base: Settings, clients: int, seeds: Sequence[int]) -> dict[str, Figures]:
    """Run every detector, with drift and without."""
    found = {}
    for name, changes in DRIFT.items():
        values = {**base, **changes}
        runs = [drift(values, clients, seed, still=False) for seed in seeds]
        means = show(name, [figures for figures, _ in runs])
        if "client.detector" in values:
            heard = sum((each for _, each in runs), NOTHING)
            calm = sum((drift(values, clients, seed, still=True)[1] for seed in seeds), NOTHING)
            means |= {
                "median_delay": heard.median_delay or float("nan"),
                "missed": heard.missed,
                "false_alarms": heard.false_alarms,
                "false_alarms_without_drift": calm.false_alarms,
                "samples_without_drift": calm.samples,
            }
            print(
                f"{'':14} delays {sorted(heard.delays)}, missed {heard.missed}; false alarms: "
                f"{heard.false_alarms} before the drift, {calm.false_alarms} in {calm.samples} samples "
                "without one"
            )
        found[name] = means
    return found


def all_precisions(seeds: Sequence[int]) -> dict[str, Figures]:
    """Train in float32 and bfloat16, alternately, and compare processor time and accuracy."""
    found = {}
    for model in ("mlp", "cnn"):
        federation = open_federation(DataConfig(clients=1), 1)
        experiment = Experiment().with_values({"model.name": model, "client.epochs": 20})
        learner = open_learner(experiment.model, federation.input_shape, federation.classes)
        runs: dict[str, list[Figures]] = {"float32": [], "bfloat16": []}
        for seed in seeds:
            for precision, figures in runs.items():
                config = experiment.client.model_copy(
                    update={"precision": precision, "learning_rate": 0.1, "batch_size": 64}
                )
                started = time.process_time()
                learned = learner.learn(learner.initial(seed), federation.shares[0], config, seed)
                spent = time.process_time() - started
                accuracy = learner.score(learned, federation.test).accuracy
                figures.append({"accuracy": accuracy, "seconds": spent})
        for precision, figures in runs.items():
            accuracy = statistics.mean(each["accuracy"] for each in figures)
            seconds = statistics.median(each["seconds"] for each in figures)
            found[f"{model} {precision}"] = {"accuracy": accuracy, "seconds": seconds}
            print(f"{model} {precision:9} accuracy {100 * accuracy:5.1f}   processor seconds {seconds:.2f}")
    return found


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["classes", "drift", "precision"])
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--compressed", action="store_true", help="use the default codecs both ways")
    parser.add_argument("--json", type=Path, help="write the means there")
    chosen = parser.parse_args()
    if chosen.what == "precision":
        found = all_precisions(chosen.seeds)
    else:
        base = {} if chosen.compressed else PLAIN
        run = all_classes if chosen.what == "classes" else all_drift
        found = run(base, chosen.clients, chosen.seeds)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
