"""One user's model against the federation's, both on users whom nobody learned from.

    phloem simulate examples/activity.toml --set data.source=wisdm_ar:PATH -o runs/activity
    python benchmarks/single_users.py runs/activity

Each client of the run learns once more, alone: from the same untrained weights, the very samples of every
round, with the same settings and seeds, so as many epochs of each; but nothing is sent, compressed or
averaged. All models are then scored on the run's test set, the unseen users.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from phloem.client.stream import stream_of
from phloem.compression.update import Update
from phloem.config import DataConfig, Experiment, load
from phloem.learning import Model, open_learner
from phloem.measures.spread import worst_mean
from phloem.seeds import derive, generator
from phloem.simulation.data.holdout import hold_out
from phloem.simulation.data.loaders import load as load_table
from phloem.simulation.data.partitions import partition
from phloem.sources import Federation, Samples, open_federation


def learned_alone(experiment: Experiment, federation: Federation, learner: Model, share: int) -> Update:
    """Return the weights of a client that was asked in every round and never heard of another."""
    seed = experiment.run.seed
    stream = stream_of(federation, share, experiment.data.when_dry)
    weights, position = learner.initial(derive(seed, "model")), 0
    for number in range(1, experiment.run.rounds + 1):
        count = stream.arriving(number, experiment.client.samples_per_round)
        fresh, position = stream.next(position, count)
        weights = learner.learn(weights, fresh, experiment.client, derive(seed, str(share), number))
    return weights


def unseen(data: DataConfig, seed: int, test: Samples) -> dict[str, Samples]:
    """Return the test set by the natural client that each sample is of."""
    plan = partition(data.partition)
    table = load_table(data, plan.ids_name)
    held = hold_out(table, data, generator(seed, "hold back"), natural=True)
    if table.ids is None or len(held.test) != len(test):
        raise SystemExit("The test should be of whole natural clients, with no row left out.")
    owners: NDArray[np.int64] = table.ids[held.test]
    return {str(name): test.take(np.flatnonzero(owners == name)) for name in np.unique(owners).tolist()}


def by_user(learner: Model, weights: Update, users: dict[str, Samples]) -> dict[str, float]:
    """Return the accuracy on each user's samples."""
    return {name: learner.score(weights, samples).accuracy for name, samples in users.items()}


def measure(folder: Path) -> dict[str, object]:
    """Return all figures of a run; accuracies in 0..1."""
    experiment = load(folder / "experiment.toml")
    federation = open_federation(experiment.data, experiment.run.seed)
    learner = open_learner(experiment.model, federation.input_shape, federation.classes)
    users = unseen(experiment.data, experiment.run.seed, federation.test)
    together = load_file(folder / "model.safetensors")
    alone = [learned_alone(experiment, federation, learner, share) for share in range(len(federation.shares))]
    accuracies = [learner.score(weights, federation.test).accuracy for weights in alone]
    return {
        "seed": experiment.run.seed,
        "federated": learner.score(together, federation.test).accuracy,
        "federated_by_user": by_user(learner, together, users),
        "alone_mean": float(np.mean(accuracies)),
        "alone_deviation": float(np.std(accuracies)),
        "alone_worst_tenth": worst_mean(accuracies),
        "alone_best": max(accuracies),
        "alone_models": len(accuracies),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of each folder as JSON, a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of finished runs of natural clients")
    for folder in parser.parse_args(arguments).folders:
        print(json.dumps(measure(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
