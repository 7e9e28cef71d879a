"""What narrower networks on weak clients cost and save: against one network for all, and without the weak.

    python benchmarks/submodels.py                                  digits: minutes
    python benchmarks/submodels.py --data fashion_mnist.npz         images

Ten clients have the widths 1, 0.5 and 0.25 in turn, four of them 1. Accuracies are of the global model, and
of the narrow clients' own parts of it at the end, on the test set; bytes are payloads of the whole run, as
counted in the ledger. `only width 1` leaves the others out. Last comes what learning 64 samples four times
costs a device in each width: processor time, the median of 15, taken in turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median, pstdev

import numpy as np

from phloem.config import ClientConfig, DataConfig, Experiment, ModelConfig, parse_assignments
from phloem.federation import Federation, Samples
from phloem.learning import open_learner
from phloem.server.parts import part_for
from phloem.settings.submodel import SubmodelConfig
from phloem.simulation.run import simulate
from phloem.sources import open_federation
from phloem.summary import summarise

CLIENTS, STRONG = 10, slice(0, None, 3)
MIXED = "1,0.5,0.25"
COMMON: dict[str, object] = {
    "data.clients": CLIENTS,
    "server.clients_per_round": 0,
    "server.checkpoint_every": 0,
    "server.evaluate_every": 5,
    "run.reference": False,
    "run.baselines": "none",
}
IMAGES: dict[str, object] = {"data.rows": 20_000, "model.hidden": 256, "client.samples_per_round": 64}
WAYS: dict[str, dict[str, object]] = {
    "all whole": {},
    "only width 1": {"data.source": "submodels:only_strong", "data.clients": 4},
    "all half, another network": {"model.hidden": 0.5},
    "all a quarter, another network": {"model.hidden": 0.25},
    "nested": {"submodel.widths": MIXED, "submodel.choice": "nested"},
    "first": {"submodel.widths": MIXED, "submodel.choice": "first"},
    "rolling": {"submodel.widths": MIXED, "submodel.choice": "rolling"},
    "norm": {"submodel.widths": MIXED, "submodel.choice": "norm"},
    "all half, rolling": {"submodel.widths": "0.5", "submodel.choice": "rolling"},
    "all a quarter, rolling": {"submodel.widths": "0.25", "submodel.choice": "rolling"},
}
_whole_source = "digits"


@dataclass(frozen=True)
class Found:
    """What a way came to."""

    way: str
    seed: int
    accuracy: float
    half: float | None
    quarter: float | None
    up_bytes: int
    down_bytes: int


def only_strong(data: DataConfig, seed: int) -> Federation:
    """Return the same federation without the clients that would have a part of the network."""
    whole = open_federation(data.model_copy(update={"source": _whole_source, "clients": CLIENTS}), seed)
    return replace(whole, shares=whole.shares[STRONG], dropped=whole.dropped[STRONG])


def measure(way: str, values: dict[str, object], seed: int) -> Found:
    """Make a run."""
    global _whole_source
    wanted = {**COMMON, **values, **WAYS[way], "run.seed": seed}
    _whole_source = str(values.get("data.source", "digits"))
    if isinstance(share := WAYS[way].get("model.hidden"), float):
        wanted["model.hidden"] = int(share * int(str(values.get("model.hidden", 128))))
    with tempfile.TemporaryDirectory() as scratch:
        folder = simulate(Experiment().with_values(wanted), Path(scratch) / "run")
        summary = summarise(folder)
    widths = {width: part.accuracy for width, part in summary.widths.items()}
    assert summary.accuracy is not None
    up, down = summary.uplink.payload_bytes, summary.downlink.payload_bytes
    found = Found(way, seed, summary.accuracy, widths.get("0.5"), widths.get("0.25"), up, down)
    print(f"  {found}", file=sys.stderr, flush=True)
    return found


def table(found: list[Found]) -> Iterator[str]:
    """Return the lines of a Markdown table: means over the seeds, with the accuracy's standard deviation."""
    yield "| clients | accuracy | part of 0.5 | part of 0.25 | up | down |"
    yield "|---|--:|--:|--:|--:|--:|"
    for way in dict.fromkeys(run.way for run in found):
        runs = [run for run in found if run.way == way]
        scores = [100 * run.accuracy for run in runs]
        half, quarter = (
            f"{100 * fmean(parts):.1f} %" if (parts := [p for p in column if p is not None]) else ""
            for column in ([run.half for run in runs], [run.quarter for run in runs])
        )
        up, down = (
            fmean(column) / 1000 for column in zip(*((r.up_bytes, r.down_bytes) for r in runs), strict=True)
        )
        yield (
            f"| {way} | {fmean(scores):.1f} ± {pstdev(scores):.1f} % | {half} | {quarter} "
            f"| {up:,.0f} kB | {down:,.0f} kB |"
        )


def devices() -> Iterator[str]:
    """Return the lines of a table of what a device has and does in each width, of an image of 28 x 28."""
    rng = np.random.default_rng(0)
    samples = Samples(rng.random((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64))
    yield "| network | width | weights | share | ms to learn |"
    yield "|---|--:|--:|--:|--:|"
    for config in (ModelConfig(hidden=(256,)), ModelConfig(name="cnn")):
        learner = open_learner(config, (1, 28, 28), 10)
        whole = learner.initial(1)
        parts = {
            width: part_for("0", SubmodelConfig(widths=(width, 1.0)), learner.layout, whole)
            for width in (1.0, 0.5, 0.25)
        }
        taken: dict[float, list[float]] = {width: [] for width in parts}
        for turn, (width, part) in ((turn, item) for turn in range(15) for item in parts.items()):
            network, weights = (learner, whole) if part is None else (learner.part(part), part.narrow(whole))
            started = time.process_time()
            network.learn(weights, samples, ClientConfig(), turn)
            taken[width].append(time.process_time() - started)
        for width, part in parts.items():
            schema = learner.schema if part is None else part.schema
            share = schema.parameters / learner.schema.parameters
            yield (
                f"| {config.name} | {width:g} | {schema.parameters:,} | {100 * share:.0f} % "
                f"| {1000 * median(taken[width]):.1f} |"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="`digits`, or the file of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", help="print the runs instead of the table")
    chosen = parser.parse_args()
    sys.modules["submodels"] = sys.modules[__name__]  # `data.source` looks it up by that name
    values = parse_assignments(chosen.set)
    if chosen.data != "digits":
        values = {**IMAGES, "data.source": f"fashion_mnist:{chosen.data}", **values}
    found = [measure(way, values, seed) for way in chosen.ways for seed in chosen.seeds]
    print(
        json.dumps([asdict(run) for run in found])
        if chosen.json
        else "\n".join([*table(found), "", *devices()])
    )


if __name__ == "__main__":
    main()
