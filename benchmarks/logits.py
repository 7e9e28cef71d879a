"""What exchanging logits is worth to unlike networks: against each alone, and against one network averaged.

    python benchmarks/logits.py                                     digits: minutes
    python benchmarks/logits.py --data fashion_mnist.npz            images: 2 % proxy

Nine clients have three kinds of networks in turn. `server` is the accuracy on the test set of the network
that the server has, `clients` the mean of the clients' own, `clients, heard` that once they heard the last
consensus, as in the next round. Bytes are payloads of a client and round, as counted in the ledger. With
`weights` all have the model `mlp`; alone, each has its own and hears nobody.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev

from phloem.client.app import app, device_of
from phloem.client.peer import network_for
from phloem.client.records import read_state
from phloem.client.stream import stream_of
from phloem.config import Experiment, parse_assignments
from phloem.learning import open_learner
from phloem.seeds import derive
from phloem.server.app import prepare, serve
from phloem.server.state import ServerState
from phloem.simulation.grid import LocalGrid
from phloem.sources import Samples
from phloem.summary import summarise

COMMON: dict[str, object] = {
    "data.clients": 9,
    "server.clients_per_round": 0,
    "server.checkpoint_every": 0,
    "server.evaluate_every": 1000,
    "run.reference": False,
    "run.baselines": "none",
}
IMAGES = {"data.validation_fraction": 0.0, "data.proxy_fraction": 0.02}
UNLIKE = "mlp hidden=32; mlp hidden=256,128; cnn channels=8,16 hidden=32"
SETTINGS: dict[str, dict[str, object]] = {
    "20 rounds of 32 samples": {"run.rounds": 20},
    "5 rounds of 128 samples": {
        "run.rounds": 5,
        "client.samples_per_round": 128,
        "client.epochs": 10,
    },
}
LOGITS = {"exchange.kind": "logits", "exchange.models": UNLIKE, "client.learning_rate": 0.1}
WAYS: dict[str, dict[str, object]] = {
    "weights": {},
    "weights, gently": {"client.learning_rate": 0.1},
    "logits, dense": {**LOGITS, "uplink.codec": "dense", "downlink.codec": "dense", "downlink.error": 0.0},
    "logits, linear": {**LOGITS, "uplink.codec": "linear:4 | rans"},
    "logits, rdo": {**LOGITS, "uplink.codec": "rdo:bpp=1"},
    "logits, coarse": {**LOGITS, "uplink.codec": "rdo:bpp=0.3", "downlink.error": 0.2},
}


@dataclass(frozen=True)
class Found:
    """What a way came to: accuracies on the test set, and payload bytes of a client and round."""

    setting: str
    way: str
    seed: int
    server: float | None
    clients: float
    heard: float
    up: float
    down: float


def measure(setting: str, values: dict[str, object], way: str, seed: int) -> Found:
    """Make a run, and ask every client's network afterwards."""
    wanted = {**COMMON, **SETTINGS[setting], **WAYS[way], **values, "run.seed": seed}
    experiment = Experiment().with_values(wanted)
    grid = LocalGrid(app, experiment.data.clients, experiment.to_flat())
    setting_of_run = prepare(experiment)
    with tempfile.TemporaryDirectory() as scratch:
        state = serve(grid, experiment, Path(scratch) / "run")
        summary = summarise(Path(scratch) / "run")
    test = setting_of_run.federation.test
    own, heard = clients(grid, state, test)
    turns = experiment.data.clients * experiment.run.rounds
    up, down = summary.uplink.payload_bytes / turns, summary.downlink.payload_bytes / turns
    server = setting_of_run.learner.score(state.deployed, test).accuracy
    found = Found(setting, way, seed, server, own, heard, up, down)
    print(f"  {found}", file=sys.stderr, flush=True)
    return found


def clients(grid: LocalGrid, state: ServerState, test: Samples) -> tuple[float, float]:
    """Return the mean accuracy of the clients' networks, as they are and having heard the last consensus."""
    own, heard = [], []
    for context in grid.contexts.values():
        device, kept = device_of(context), read_state(context.state)
        if device.peer is None or kept.own is None:
            own.append(device.learner.score(state.model, test).accuracy)
            heard.append(own[-1])
            continue
        own.append(device.learner.score(kept.own, test).accuracy)
        heard.append(device.learner.score(device.peer.heard(state.model, kept.own, 1), test).accuracy)
    return fmean(own), fmean(heard)


def alone(setting: str, values: dict[str, object], seed: int) -> Found:
    """Let every client learn from the same samples by itself."""
    wanted = {**COMMON, **SETTINGS[setting], **LOGITS, "uplink.codec": "dense", **values, "run.seed": seed}
    experiment = Experiment().with_values(wanted)
    federation, accuracies = prepare(experiment).federation, []
    for client in range(experiment.data.clients):
        network = open_learner(network_for(experiment, client), federation.input_shape, federation.classes)
        stream = stream_of(federation, client, experiment.data.when_dry)
        weights, position = network.initial(derive(seed, client)), 0
        for number in range(experiment.run.rounds):
            samples, position = stream.next(position, experiment.client.samples_per_round)
            weights = network.learn(weights, samples, experiment.client, derive(seed, client, number))
        accuracies.append(network.score(weights, federation.test).accuracy)
    found = Found(setting, "alone", seed, None, fmean(accuracies), fmean(accuracies), 0.0, 0.0)
    print(f"  {found}", file=sys.stderr, flush=True)
    return found


def table(found: list[Found]) -> Iterator[str]:
    """Return the lines of a Markdown table: means over the seeds, with the server's standard deviation."""
    yield "| setting | way | server | clients | clients, heard | bytes up | bytes down |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for setting, way in dict.fromkeys((run.setting, run.way) for run in found):
        runs = [run for run in found if (run.setting, run.way) == (setting, way)]
        scores = [100 * run.server for run in runs if run.server is not None]
        server = f"{fmean(scores):.1f} ± {pstdev(scores):.1f} %" if scores else "none"
        own, heard = (100 * fmean(getattr(run, name) for run in runs) for name in ("clients", "heard"))
        up, down = (fmean(getattr(run, name) for run in runs) for name in ("up", "down"))
        yield f"| {setting} | {way} | {server} | {own:.1f} % | {heard:.1f} % | {up:.0f} | {down:.0f} |"


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
        alone(setting, extra, seed) if way == "alone" else measure(setting, extra, way, seed)
        for setting in given.settings
        for way in ("alone", *given.ways)
        for seed in given.seeds
    ]
    print(json.dumps([asdict(run) for run in found], indent=2) if given.json else "\n".join(table(found)))


if __name__ == "__main__":
    main()
