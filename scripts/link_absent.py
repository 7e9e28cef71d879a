"""Devices of the link that fall silent: every round ends by its deadline, and nothing is corrupt.

    python scripts/link_absent.py                       10 devices, 20 rounds, 30 % of them stopped in each
    python scripts/link_absent.py --share 0.6 --set server.quorum=0.5
    python scripts/link_absent.py --set server.clients_per_round=6 --set server.over_selection=1.5

The server is this process; each device is `phloem join` in one of its own. Before each round but the first a
draw from the seed stops some of them (SIGSTOP: the connection stands, nobody answers) and lets the others go
on. Prints one JSON object; a round that takes longer than `--deadline` by `LAG_S` is counted.
Exit codes: 0 all rounds ended in time and the run's last model is in its folder, 3 not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors.numpy import load_file

from phloem.compression.update import digest, is_finite
from phloem.config import Experiment, parse_assignments
from phloem.ledger import Ledger
from phloem.link.pages import Address
from phloem.seeds import generator
from phloem.server.link.run import Front, Listener, serve_link
from phloem.server.link.tally import Tally
from phloem.server.strategy import RoundReport
from phloem.summary import LEDGER_NAME, summarise

PHLOEM = (sys.executable, "-c", "from phloem.cli.main import main; main()")
HERE, LEAVE_S = "127.0.0.1", 60.0
LAG_S = 2.0
"""For what a round does beside waiting: instructions, aggregation, the disk."""


class Devices:
    """Processes that take part, some of which are stopped in each round."""

    def __init__(self, folder: Path, share: float, seed: int) -> None:
        """Keep each device's state and words in `folder`."""
        self.folder, self.share, self.seed = folder, share, seed
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.stopped: list[int] = []
        """How many were, round by round."""

    def join(self, place: int, token: str, file: Path) -> None:
        """Start the device of a place."""
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [*PHLOEM, "join", token, f"--state={self.folder / f'device-{place}'}", "--once"]
        with (self.folder / f"device-{place}.log").open("wb") as log:
            self.processes[place] = subprocess.Popen(command, stdout=log, stderr=log, env=env)

    def stop_some(self, round_number: int) -> None:
        """Stop those whose turn it is to be silent in a round, and let the others go on."""
        drawn = generator(self.seed, "stopped", round_number).random(len(self.processes)) < self.share
        self.stopped.append(int(drawn.sum()))
        for place, silent in zip(sorted(self.processes), drawn, strict=True):
            self.processes[place].send_signal(signal.SIGSTOP if silent else signal.SIGCONT)

    def all_go_on(self) -> None:
        """Stop nobody."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)

    def leave(self) -> None:
        """Wait until they have gone; end those that do not go."""
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_S)
            process.kill()
            process.wait()


def run(
    devices: int, share: float, deadline_s: float, values: Mapping[str, object], folder: Path
) -> dict[str, object]:
    """Make the run in `folder` and return what came of it."""
    settings = {
        "data.clients": devices,
        "server.clients_per_round": 0,
        "server.round_timeout_s": deadline_s,
        "run.reference": False,
        **values,
    }
    experiment = Experiment().with_values(settings)
    fleet = Devices(folder, share, experiment.run.seed)
    front = Front(folder / "server", Address(HERE, 0), HERE)
    directory, last = folder / "run", experiment.run.rounds

    def between(report: RoundReport, found: Tally) -> None:
        if report.round < last:
            fleet.stop_some(report.round + 1)
        else:
            fleet.all_go_on()

    listener = Listener(on_token=fleet.join, on_round=between)
    try:
        serve_link(experiment, directory, front, listener)
    finally:
        fleet.all_go_on()
        fleet.leave()
    summary, model = summarise(directory), load_file(directory / "model.safetensors")
    with Ledger.open(directory / LEDGER_NAME) as ledger:
        rows = ledger.query("SELECT seconds, accepted, rejected FROM round WHERE round > 0 ORDER BY round")
        codes = dict(ledger.query("SELECT code, count(*) FROM rejection GROUP BY code ORDER BY code"))
    seconds = [row[0] for row in rows]
    return {
        "devices": devices,
        "rounds": summary.rounds,
        "stopped": [0, *fleet.stopped],
        "applied": [row[1] for row in rows],
        "abandoned": sum(accepted == 0 < rejected for _, accepted, rejected in rows),
        "refused": codes,
        "deadline_s": deadline_s,
        "seconds": [round(value, 2) for value in seconds],
        "longest_s": max(seconds),
        "too_long": sum(value > deadline_s + LAG_S for value in seconds),
        "accuracy": summary.accuracy,
        "accuracy_mean5": summary.accuracy_mean5,
        "whole": is_finite(model) and digest(model) == summary.model_sha256,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a run and print what came of it."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--deadline", type=float, default=5.0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    values = {"run.rounds": given.rounds, **parse_assignments(given.set)}
    with tempfile.TemporaryDirectory(prefix="phloem-absent-") as scratch:
        found = run(given.devices, given.share, given.deadline, values, Path(scratch))
    print(json.dumps(found))
    return 0 if found["whole"] and not found["too_long"] and found["rounds"] == given.rounds else 3


if __name__ == "__main__":
    sys.exit(main())
