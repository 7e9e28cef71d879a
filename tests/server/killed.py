"""A run in a process of its own that is killed, as by kill -9, at one labelled point of one round.

`python -m tests.server.killed --rounds 10` does so at every point of every round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

from phloem.config import Experiment
from phloem.simulation.run import resume, simulate
from phloem.summary import summarise

FIRST = ("greeted", "committed", "parts written", "manifest replaced", "saved")
"""Points of round 0, before anything is trained."""
POINTS = (
    "instructed",
    "replied",
    "aggregated",
    "recorded",
    "committed",
    "parts written",
    "manifest replaced",
    "saved",
)
"""Points of every other round, in order."""
EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 4,
        "model.hidden": 4,
        "client.epochs": 1,
        "server.clients_per_round": 2,
        "run.rounds": 4,
        "run.reference": False,
    }
)
Hashes = tuple[str | None, str]


def kill_at(label: str, round_number: int, folder: Path, experiment: Experiment, going_on: bool) -> None:
    """Run, or go on, and die at a point; ends as it is where the point is not met."""

    def reach(found_label: str, found_round: int) -> None:
        if (found_label, found_round) == (label, round_number):
            os.kill(os.getpid(), signal.SIGKILL)

    if going_on:
        resume(folder, reach=reach)
    else:
        simulate(experiment, folder, reach=reach)


def killed(label: str, round_number: int, folder: Path, experiment: Experiment, going_on: bool) -> bool:
    """Do the same in another process; tell whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch and numba are loaded once
    process = context.Process(target=kill_at, args=(label, round_number, folder, experiment, going_on))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    assert code in (0, -signal.SIGKILL), f"the run ended with {code}"
    return code != 0


def hashes(folder: Path) -> Hashes:
    """Return what has to be equal however often a run was killed."""
    found = summarise(folder)
    return found.model_sha256, found.ledger_sha256


def may_follow(label: str, round_number: int) -> bool:
    """Tell whether a chain of kills comes by this point: a round that is safe is not done again."""
    return label != ("saved", "manifest replaced")[round_number % 2]


def points(rounds: int) -> list[tuple[str, int]]:
    """Return every point of a run."""
    return [(label, 0) for label in FIRST] + [
        (label, number) for number in range(1, rounds + 1) for label in POINTS
    ]


def main() -> None:
    """Kill a run at every point, one after the other, and fail where a hash differs in the end.

    With `--each`, do it also with a run of its own for every point.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--each", action="store_true")
    given = parser.parse_args()
    experiment = EXPERIMENT.with_values({"run.rounds": given.rounds})
    with tempfile.TemporaryDirectory() as scratch:
        expected = hashes(simulate(experiment, Path(scratch) / "whole"))
        chain, kills = Path(scratch) / "chain", 0
        for label, at in points(given.rounds):
            if may_follow(label, at):
                assert killed(label, at, chain, experiment, going_on=kills > 0)
                kills += 1
            if given.each:
                folder = Path(scratch) / f"{label}-{at}"
                assert killed(label, at, folder, experiment, going_on=False)
                assert hashes(resume(folder)) == expected, (label, at)
            print(f"{label} in round {at}", flush=True)
        found = hashes(resume(chain))
        assert found == expected, (found, expected)
    print(f"killed {kills} times in {given.rounds} rounds: model and ledger are equal, {expected}")


if __name__ == "__main__":
    main()
