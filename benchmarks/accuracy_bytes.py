"""Accuracy against bytes: phloem's codecs and its peers', trained for the same rounds, every byte real.

    python benchmarks/accuracy_bytes.py                                        digits, one seed: a minute
    python benchmarks/accuracy_bytes.py --data fashion_mnist.npz --seeds 1 2 3  the test of record

All variants train the same clients on the same samples with the same seeds; only what is sent differs.
Accuracy is the mean of the last five evaluations on the test set. Peers' codecs get phloem's downlink
as well (a step from the model a client holds), which most of them do not have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from phloem.config import Experiment, parse_assignments
from phloem.simulation.run import simulate
from phloem.summary import summarise
from phloem.units import human_bytes

Settings = dict[str, object]

DENSE: Settings = {"uplink.codec": "dense", "downlink.codec": "dense", "downlink.anchor": "dense"}


def both_ways(uplink: str, downlink: str, error: float = 0.0) -> Settings:
    """Return the settings that send updates in `uplink` and steps in `downlink`."""
    return {
        "uplink.codec": uplink,
        "downlink.codec": downlink,
        "downlink.error": error,
        "downlink.anchor": "fp16 | zstd",
    }


VARIANTS: dict[str, Settings] = {
    "dense": DENSE,
    "rdo": both_ways("ef | rdo:bpp=0.5", "rdo:bpp=0.3", error=0.015),
    "rdo, thrifty": both_ways("ef | rdo:bpp=0.3", "rdo:bpp=0.3", error=0.05),
    "STC 1 %": both_ways("ef | ternary:0.01", "ternary:0.01"),
    "top 1 %, fp16": both_ways("ef | topk:0.01 | fp16", "topk:0.01 | fp16"),
    "PowerSGD 2, fp16": both_ways("ef | lowrank:2 | fp16", "lowrank:2 | fp16"),
    "EDEN 1 bit": both_ways("eden:1", "eden:1"),
    "4 bit blocks": both_ways("linear:4", "linear:4"),
}

DIGITS: Settings = {"run.rounds": 40}
IMAGES: Settings = {
    "data.clients": 100,
    "data.proxy_fraction": 0.0,
    "data.validation_fraction": 0.05,
    "model.name": "cnn",
    "model.channels": "8,16",
    "model.hidden": "64",
    "client.samples_per_round": 320,
    "client.epochs": 1,
    "client.batch_size": 32,
    "client.learning_rate": 0.1,
    "server.clients_per_round": 10,
    "server.evaluate_every": 5,
    "run.rounds": 60,
}


@dataclass(frozen=True)
class Row:
    """A variant over its seeds; bytes are means a run, ratios are against the dense variant's bytes."""

    variant: str
    accuracy: float
    accuracies: list[float]
    up_bytes: float
    down_bytes: float
    up_ratio: float
    both_ratio: float
    points_to_dense: float


def measure(variant: str, settings: Settings, seeds: list[int]) -> tuple[list[float], float, float]:
    """Return the accuracy of each seed, and the mean bytes up and down."""
    accuracies, up, down = [], [], []
    for seed in seeds:
        experiment = Experiment().with_values({**settings, "run.seed": seed, "run.reference": False})
        with tempfile.TemporaryDirectory() as folder:
            summary = summarise(simulate(experiment, Path(folder) / "run"))
        if summary.accuracy_mean5 is None:
            raise SystemExit("The data should have a test set. Found none.")
        accuracies.append(summary.accuracy_mean5)
        up.append(summary.uplink.payload_bytes)
        down.append(summary.downlink.payload_bytes)
        print(f"  {variant}, seed {seed}: {100 * accuracies[-1]:.2f} %", file=sys.stderr, flush=True)
    return accuracies, statistics.mean(up), statistics.mean(down)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="`digits` or an npz file of images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="these variants, beside dense")
    parser.add_argument("--set", dest="assignments", nargs="+", default=[], help="further settings")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    common = DIGITS if given.data == "digits" else {**IMAGES, "data.source": f"npz:{given.data}"}
    common = {**common, **parse_assignments(given.assignments)}
    rows: list[Row] = []
    dense_up = dense_both = dense_accuracy = 0.0
    for name, settings in VARIANTS.items():
        if given.only and name not in (*given.only, "dense"):
            continue
        accuracies, up, down = measure(name, {**common, **settings}, given.seeds)
        accuracy = statistics.mean(accuracies)
        if name == "dense":
            dense_up, dense_both, dense_accuracy = up, up + down, accuracy
        rows.append(
            Row(
                variant=name,
                accuracy=accuracy,
                accuracies=accuracies,
                up_bytes=up,
                down_bytes=down,
                up_ratio=dense_up / up,
                both_ratio=dense_both / (up + down),
                points_to_dense=100 * (accuracy - dense_accuracy),
            )
        )
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(f"| {'variant':<18} | accuracy | to dense |       up |     down | fewer up | fewer both |")
    print(f"|{'-' * 20}|---------:|---------:|---------:|---------:|---------:|-----------:|")
    for row in rows:
        print(
            f"| {row.variant:<18} | {100 * row.accuracy:6.2f} % | {row.points_to_dense:+5.2f} pt "
            f"| {human_bytes(row.up_bytes):>8} | {human_bytes(row.down_bytes):>8} "
            f"| {row.up_ratio:7.1f}x | {row.both_ratio:9.1f}x |"
        )


if __name__ == "__main__":
    main()
