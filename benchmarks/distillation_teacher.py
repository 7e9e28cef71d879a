"""What a distillation could reach at best: the ensemble itself, beside the average and the best client.

    python benchmarks/distillation_teacher.py
    python benchmarks/distillation_teacher.py --data fashion_mnist.npz --samples 1000 --epochs 20 100

One upload of each of eight clients, Dirichlet 0.1, as `benchmarks/distillation.py` has it. Accuracy is of the
validation slice, which is what the rule of the votes was chosen by, and of the test set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from statistics import fmean
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from phloem.compression.codec import codec
from phloem.compression.update import Update, add, subtract
from phloem.config import Experiment
from phloem.learning import Model, open_learner
from phloem.seeds import derive
from phloem.server.aggregate import StreamingMean
from phloem.server.distill.teacher import Teacher
from phloem.sources import Samples, open_federation

Rule = Literal["product", "certain", "mean"]
IMAGES = {"data.validation_fraction": 0.02, "data.proxy_fraction": 0.02}


def measure(values: dict[str, object], seed: int) -> Iterator[tuple[str, float, float]]:
    """Yield what was tried, and its accuracy in percent on validation and test."""
    experiment = Experiment().with_values({**values, "run.seed": seed})
    federation = open_federation(experiment.data, seed)
    learner = open_learner(experiment.model, federation.input_shape, federation.classes)
    uplink, first = codec("rdo:bpp=2"), learner.initial(derive(seed, "model"))
    models, counts = list[Update](), list[NDArray[np.int64]]()
    mean = StreamingMean(learner.schema)
    for client, share in enumerate(federation.shares):
        seen = share.take(slice(0, experiment.client.samples_per_round))
        learned = learner.learn(first, seen, experiment.client, derive(seed, str(client)))
        blob, _ = uplink.encode(subtract(learned, first), None, seed=seed)
        update = uplink.decode(blob, learner.schema)
        mean.add(update, len(seen))
        models.append(add(first, update))
        counts.append(np.bincount(seen.y, minlength=federation.classes))
    validation, test = federation.validation, federation.test

    def right(weights: Update, part: Samples) -> float:
        return 100 * learner.score(weights, part).accuracy

    average = mean.apply_to(first, 1.0)
    yield "average", right(average, validation), right(average, test)
    best = [max(right(model, part) for model in models) for part in (validation, test)]
    yield "best client", best[0], best[1]
    for rule in get_args(Rule):
        voted = [_ensemble(learner, models, counts, rule, part) for part in (validation, test)]
        yield f"votes: {rule}", voted[0], voted[1]


def _ensemble(
    learner: Model, models: list[Update], counts: list[NDArray[np.int64]], rule: Rule, part: Samples
) -> float:
    teacher = Teacher(learner, part.x, 1.0, rule)
    for model, seen in zip(models, counts, strict=True):
        teacher.hear(model, seen)
    return float(100 * (teacher.opinion().argmax(1) == part.y).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="`digits`, or the file of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--samples", type=int, default=1000, help="of a client, at most")
    parser.add_argument("--epochs", type=int, nargs="+", default=[20])
    given = parser.parse_args()
    data = {} if given.data == "digits" else {**IMAGES, "data.source": f"fashion_mnist:{given.data}"}
    print("| epochs | what | validation | test | to average | by seed |\n|--:|---|--:|--:|--:|---|")
    for epochs in given.epochs:
        values: dict[str, object] = {
            **data,
            "data.clients": 8,
            "data.partition": "dirichlet:0.1",
            "client.samples_per_round": given.samples,
            "client.epochs": epochs,
            "client.learning_rate": 0.1,
        }
        runs = [list(measure(values, seed)) for seed in given.seeds]
        base = fmean(run[0][2] for run in runs)
        for rows in zip(*runs, strict=True):
            validation, test = (fmean(row[i] for row in rows) for i in (1, 2))
            seeds = ", ".join(f"{row[2]:.1f}" for row in rows)
            row = f"| {epochs} | {rows[0][0]} | {validation:.1f} % | {test:.1f} % | {test - base:+.1f} pt"
            print(f"{row} | {seeds} |", flush=True)


if __name__ == "__main__":
    main()
