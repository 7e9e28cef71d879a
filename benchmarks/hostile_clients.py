"""One hostile client of ten, against every rule of `server.aggregation`: accuracy lost, in points.

    python benchmarks/hostile_clients.py                          all rules on digits, one seed: minutes
    python benchmarks/hostile_clients.py --seeds 1 2 3 --keep runs.jsonl
    python benchmarks/hostile_clients.py --data fashion_mnist.npz --rules fedavg+clip multikrum
    python benchmarks/hostile_clients.py --partition dirichlet:0.3 --codec "ef | rdo:bpp=0.25"

Client 0 learns honestly and sends something else, in every round. A cell is the accuracy of that run less the
accuracy of plain averaging with ten honest clients, same seed, both as means over a run's last five
evaluations, in points; mean over the seeds and, in brackets, the worst seed. With `--keep` a run that is in
the file already is not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from flwr.app import Array, ArrayRecord, Message

from phloem.client.app import app
from phloem.compression.codec import Codec, codec
from phloem.compression.frame import Frame, pack, peek
from phloem.compression.update import Schema
from phloem.config import Experiment
from phloem.errors import RunError
from phloem.protocol import MESSAGE
from phloem.records import BLOB, STYPE, UPDATE, get_blob
from phloem.server.app import prepare, serve
from phloem.simulation.grid import FIRST_NODE, LocalGrid
from phloem.summary import summarise

RULES: dict[str, dict[str, object]] = {
    "fedavg": {},
    "fedavg+clip": {"server.clip": 1.0},
    "fedmedian": {"server.aggregation": "fedmedian"},
    "fedtrimmedavg": {"server.aggregation": "fedtrimmedavg"},
    "fedtrimmedavg+clip": {"server.aggregation": "fedtrimmedavg", "server.clip": 1.0},
    "krum": {"server.aggregation": "krum"},
    "multikrum": {"server.aggregation": "multikrum"},
    "multikrum+clip": {"server.aggregation": "multikrum", "server.clip": 1.0},
    "bulyan": {"server.aggregation": "bulyan"},
}
COMMON: dict[str, object] = {
    "data.clients": 10,
    "server.clients_per_round": 0,
    "server.checkpoint_every": 0,
    "run.reference": False,
    "run.baselines": "none",
}
DIGITS: dict[str, object] = {"model.hidden": 32, "run.rounds": 15}
FASHION: dict[str, object] = {"model.hidden": 64, "run.rounds": 20, "client.learning_rate": 0.1}
HONEST = "nobody hostile"
Attack = Callable[[Message, Schema, Codec], None]


def put(reply: Message, blob: bytes) -> None:
    """Replace the frame of a reply."""
    reply.content[UPDATE] = ArrayRecord({BLOB: Array("bytes", (len(blob),), STYPE, blob)})


def times(factor: float) -> Attack:
    """Its own update, scaled: coded as an honest one is."""

    def attack(reply: Message, schema: Schema, uplink: Codec) -> None:
        blob = get_blob(reply.content) or b""
        header = peek(blob)
        update = uplink.decode(blob, schema)
        scaled = {name: np.asarray(factor * tensor, np.float32) for name, tensor in update.items()}
        put(reply, uplink.encode(scaled, base=header.base, seq=header.seq)[0])

    return attack


def nan(reply: Message, schema: Schema, uplink: Codec) -> None:
    """Nothing but NaN."""
    header = peek(get_blob(reply.content) or b"")
    payloads = tuple(np.full(t.size, np.nan, "<f4").tobytes() for t in schema.tensors)
    put(reply, pack(Frame(header.schema, header.codec, header.base, header.seq, payloads)))


def heavy(reply: Message, schema: Schema, uplink: Codec) -> None:
    """Learned, it says, from 1e30 samples."""
    reply.content.config_records[MESSAGE]["samples"] = 1e30


def misshapen(reply: Message, schema: Schema, uplink: Codec) -> None:
    """Three numbers in place of each tensor."""
    header = peek(get_blob(reply.content) or b"")
    update = {t.name: np.ones(3, np.float32) for t in schema.tensors}
    put(reply, uplink.encode(update, base=header.base, seq=header.seq)[0])


ATTACKS: dict[str, Attack] = {
    HONEST: lambda reply, schema, uplink: None,
    "NaN": nan,
    "weight 1e30": heavy,
    "scale x1e6": times(1e6),
    "wrong shape": misshapen,
    "sign flip x10": times(-10.0),
}


@dataclass(frozen=True)
class Made:
    """A run: by which rule, under which attack, with which data and seed, and what it came to."""

    data: str
    rule: str
    attack: str
    seed: int
    accuracy: float | None
    """None where the run did not complete."""
    rejected: int


class Infiltrated(LocalGrid):
    """The in-process carrier with a hostile client."""

    def __init__(self, experiment: Experiment, attack: Attack) -> None:
        """Let `attack` have the replies of client 0 in hand."""
        super().__init__(app, experiment.data.clients, experiment.to_flat())
        self.attack, self.uplink = attack, codec(experiment.uplink.codec)
        self.schema = prepare(experiment).learner.schema

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Deliver, and let the hostile client answer what it likes."""
        replies = super().send_and_receive(messages, timeout=timeout)
        for reply in replies:
            hostile = reply.metadata.src_node_id == FIRST_NODE
            if hostile and reply.metadata.message_type == "train" and not reply.has_error():
                self.attack(reply, self.schema, self.uplink)
        return replies


def make(settings: dict[str, object], rule: str, attack: str, seed: int) -> Made:
    """Make one run."""
    values = {**COMMON, **settings, **RULES[rule], "run.seed": seed}
    experiment = Experiment().with_values(values)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        try:
            serve(Infiltrated(experiment, ATTACKS[attack]), experiment, folder)
            found = summarise(folder)
            accuracy, rejected = found.accuracy_mean5, found.rejected
        except RunError:
            accuracy, rejected = None, 0
    return Made(data_of(experiment), rule, attack, seed, accuracy, rejected)


def data_of(experiment: Experiment) -> str:
    """Return what a table is headed by."""
    return f"{Path(experiment.data.source).stem}, {experiment.data.partition}, `{experiment.uplink.codec}`"


def rows(runs: Sequence[Made]) -> Iterator[str]:
    """Yield a Markdown table for each kind of data: rules down, attacks across."""
    for data in dict.fromkeys(run.data for run in runs):
        mine = {(run.rule, run.attack, run.seed): run.accuracy for run in runs if run.data == data}
        attacks = [name for name in ATTACKS if any(attack == name for _, attack, _ in mine)]
        seeds = sorted({seed for _, _, seed in mine})
        clean = {seed: mine.get(("fedavg", HONEST, seed)) for seed in seeds}
        known = [accuracy for accuracy in clean.values() if accuracy is not None]
        yield f"**{data}**, {len(seeds)} seeds; plain averaging, nobody hostile: {100 * fmean(known):.1f} %"
        yield ""
        yield f"| rule | {' | '.join(attacks)} |"
        yield f"|---|{'---|' * len(attacks)}"
        for rule in [name for name in RULES if any(found == name for found, _, _ in mine)]:
            cells = []
            for attack in attacks:
                pairs = [(mine[rule, attack, s], clean[s]) for s in seeds if (rule, attack, s) in mine]
                cells.append(cell(pairs))
            yield f"| {rule} | {' | '.join(cells)} |"
        yield ""


def cell(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Return the loss in points, and that of the worst seed."""
    if not pairs:
        return ""
    if any(found is None for found, _ in pairs):
        return "did not complete"
    lost = [100 * (found - clean) for found, clean in pairs if found is not None and clean is not None]
    return f"{fmean(lost):+.1f} ({min(lost):+.1f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs that are not there yet and print the tables."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--attacks", nargs="+", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--partition", default="iid")
    parser.add_argument("--codec", default="linear:8", help="of the updates; a sparse one defeats some rules")
    parser.add_argument("--data", type=Path, help="fashion_mnist.npz in place of the digits")
    parser.add_argument("--keep", type=Path, help="a file of runs, to add to")
    given = parser.parse_args(arguments)
    common: dict[str, object] = {"data.partition": given.partition, "uplink.codec": given.codec}
    settings = {**DIGITS, **common}
    if given.data is not None:
        settings = {**FASHION, **common, "data.source": f"fashion_mnist:{given.data}"}
    kept = given.keep.read_text("utf-8").splitlines() if given.keep and given.keep.exists() else []
    runs = [Made(**json.loads(line)) for line in kept]
    done = {(run.data, run.rule, run.attack, run.seed) for run in runs}
    name = data_of(Experiment().with_values(settings))
    for seed in given.seeds:
        wanted = [("fedavg", HONEST), *((rule, attack) for rule in given.rules for attack in given.attacks)]
        for rule, attack in dict.fromkeys(wanted):
            if (name, rule, attack, seed) in done:
                continue
            runs.append(make(settings, rule, attack, seed))
            print(f"{rule}, {attack}, seed {seed}: {runs[-1].accuracy}", file=sys.stderr, flush=True)
            if given.keep:
                with given.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(runs[-1])) + "\n")
    print("\n".join(rows(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
