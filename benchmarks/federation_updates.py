"""Updates with residual from a running federation, as files that `phloem bench codecs --vector` reads.

    python benchmarks/federation_updates.py --data fashion_mnist.npz -o updates
    phloem bench codecs --equal-bytes --vector updates/fed05.npz --vector updates/fed20.npz ...

100 clients, Dirichlet 0.3, 10 a round, a small CNN. Of each round that is asked for, the client that has sent
most updates before is taken, and of it what its codec was given: what it learned and what it still owed.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
from flwr.app import Message

from phloem.bench.training import DIGITS, IMAGES
from phloem.client.app import app
from phloem.client.records import read_state
from phloem.compression.codec import codec
from phloem.compression.update import Schema, Update, add
from phloem.config import Experiment, parse_assignments
from phloem.server.app import prepare, serve
from phloem.simulation.grid import LocalGrid


def updates(experiment: Experiment, rounds: list[int]) -> dict[int, Update]:
    """Return the update with residual of one client in each of these rounds."""
    found: dict[int, tuple[int, Update]] = {}

    def keep(message: Message) -> None:
        state = read_state(grid.contexts[node].state) if (node := message.metadata.src_node_id) != 1 else None
        if state is None or (sent := state.pending) is None or sent.reply is None:
            return
        number, owed = sent.reply.round, state.codec.residual
        if number in rounds and owed is not None and found.get(number, (0, {}))[0] < sent.seq:
            arrived = codec(sent.codec).decode(sent.blob, Schema.of(owed))
            found[number] = sent.seq, add(arrived, owed)

    clients = len(prepare(experiment).federation.shares)
    grid = LocalGrid(app, clients, experiment.to_flat(), keep)
    with tempfile.TemporaryDirectory() as folder:
        serve(grid, experiment, Path(folder) / "run")
    return {number: update for number, (_, update) in sorted(found.items())}


def main() -> None:
    """Run, and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="`digits` or an npz file of images")
    parser.add_argument("--rounds", type=int, nargs="+", default=[5, 20, 40])
    parser.add_argument("--set", dest="assignments", nargs="+", default=[], help="further settings")
    parser.add_argument("-o", "--output", type=Path, default=Path("updates"))
    given = parser.parse_args()

    common = DIGITS if given.data == "digits" else {**IMAGES, "data.source": f"npz:{given.data}"}
    fixed = {"run.rounds": max(given.rounds), "run.reference": False}
    experiment = Experiment().with_values({**common, **fixed, **parse_assignments(given.assignments)})
    logging.getLogger("flwr").setLevel(logging.WARNING)
    given.output.mkdir(parents=True, exist_ok=True)
    for number, update in updates(experiment, given.rounds).items():
        path = given.output / f"fed{number:02d}.npz"
        np.savez(path, **update)  # type: ignore[arg-type]
        print(path, {name: tensor.shape for name, tensor in update.items()})


if __name__ == "__main__":
    main()
