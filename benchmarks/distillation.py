"""What distillation on the server is worth: one upload a client, and twenty rounds, against plain averaging.

    python benchmarks/distillation.py                                     digits: minutes
    python benchmarks/distillation.py --data fashion_mnist.npz            images: 2 % proxy, 2 % validation

Eight clients, Dirichlet 0.1, the same seeds and the same clients' data with and without; accuracy is of the
test set, which chose nothing: what is kept of a distillation is decided on the validation slice. With `labels
only` nobody is imitated.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from phloem.config import Experiment, parse_assignments
from phloem.ledger import Distillation, Evaluation, Ledger
from phloem.simulation.run import simulate
from phloem.summary import LEDGER_NAME

COMMON = {
    "data.clients": 8,
    "data.partition": "dirichlet:0.1",
    "server.clients_per_round": 0,
    "server.checkpoint_every": 0,
    "run.reference": False,
    "run.baselines": "none",
}
IMAGES = {"data.validation_fraction": 0.02, "data.proxy_fraction": 0.02}
ONCE = {
    "run.rounds": 1,
    "data.when_dry": "idle",
    "client.samples_per_round": 1000,
    "client.epochs": 20,
    "client.learning_rate": 0.1,
    "uplink.codec": "ef | rdo:bpp=2",
}
SETTINGS: dict[str, dict[str, object]] = {
    "one upload": ONCE,
    "one upload of all": {**ONCE, "client.samples_per_round": 100_000},
    "20 rounds": {"run.rounds": 20},
}
BEFORE: dict[str, object] = {
    "votes": "certain",
    "temperature": 2.0,
    "schedule": "constant",
    "label_weight": 0.0,
}
WAYS: dict[str, dict[str, object]] = {
    "averaging": {"enabled": False},
    "distilled": {},
    "no labels": {"label_weight": 0.0},
    "labels only": {"label_weight": 0.999},
    "votes as a mean": BEFORE,
    "on noise": {"proxy": "noise", "label_weight": 0.0},
    "by a generator": {"proxy": "generator", "label_weight": 0.0},
}


@dataclass(frozen=True)
class Found:
    """What a way came to: test accuracy after every round, and in how many the distilled model was kept."""

    setting: str
    way: str
    seed: int
    accuracies: list[float]
    kept: int


def measure(setting: str, values: dict[str, object], way: str, seed: int) -> Found:
    """Make a run."""
    wanted = {f"server.distill.{key}": value for key, value in {"enabled": True, **WAYS[way]}.items()}
    experiment = Experiment().with_values({**COMMON, **values, **wanted, "run.seed": seed})
    with tempfile.TemporaryDirectory() as scratch:
        folder = simulate(experiment, Path(scratch) / "run")
        with Ledger.open(folder / LEDGER_NAME) as ledger:
            accuracies = [row.accuracy for row in ledger.read(Evaluation) if row.split == "test"]
            kept = sum(row.accepted for row in ledger.read(Distillation))
    print(f"  {setting}, {way}, seed {seed}: {100 * accuracies[-1]:.1f} %", file=sys.stderr, flush=True)
    return Found(setting, way, seed, accuracies, kept)


def table(found: list[Found]) -> Iterator[str]:
    """Return the lines of a Markdown table; `worst round` is of the seeds' mean, against averaging."""
    yield "| setting | way | accuracy | to averaging | worst round | worst of a seed | kept |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for setting in dict.fromkeys(run.setting for run in found):
        plain = [run for run in found if (run.setting, run.way) == (setting, "averaging")]
        for way in dict.fromkeys(run.way for run in found):
            runs = [run for run in found if (run.setting, run.way) == (setting, way)]
            gaps = [
                [100 * (a - b) for a, b in zip(run.accuracies, base.accuracies, strict=True)]
                for run, base in zip(runs, plain, strict=True)
            ]
            mean = [fmean(gap) for gap in zip(*gaps, strict=True)]
            accuracy = 100 * fmean(run.accuracies[-1] for run in runs)
            yield (
                f"| {setting} | {way} | {accuracy:.1f} % | {mean[-1]:+.1f} pt | {min(mean):+.1f} pt "
                f"| {min(map(min, gaps)):+.1f} pt | {sum(run.kept for run in runs)} |"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="`digits`, or the file of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--set", dest="assignments", nargs="+", default=[], help="further settings")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    data = {} if given.data == "digits" else {**IMAGES, "data.source": f"fashion_mnist:{given.data}"}
    extra = {**data, **parse_assignments(given.assignments)}
    found = [
        measure(setting, {**SETTINGS[setting], **extra}, way, seed)
        for setting in given.settings
        for way in dict.fromkeys(["averaging", *given.ways])
        for seed in given.seeds
    ]
    print(json.dumps([asdict(run) for run in found], indent=2) if given.json else "\n".join(table(found)))


if __name__ == "__main__":
    main()
