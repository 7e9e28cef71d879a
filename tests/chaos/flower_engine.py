"""Kill each process of Flower's engine in mid-run: the run goes on by itself, to the model nobody disturbed.

Minutes long, so `make chaos` runs it and not every test run. Prints a row of docs/reliability.md's table for
each victim: how long the run stood still, how often it was submitted, how many rounds were begun again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest

from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.simulation.run import simulate
from phloem.summary import LEDGER_NAME, summarise
from scripts.edge import deploy
from scripts.edge_services import Services, apps_of

ROUNDS, KILLED_AFTER = 5, 2
DEADLINE_S, SILENT_FROM, LAG_S = 45.0, 1, 10.0
LOOK_EVERY_S = 0.2

Victim = Callable[[Services], list[int]]


def _of(service: str) -> Victim:
    return lambda services: [services.pid(service)]


def _app(service: str, program: str) -> Victim:
    return lambda services: apps_of(services.pid(service), program)


VICTIMS: dict[str, Victim] = {
    "superlink": _of("superlink"),
    "supernode": _of("supernode-1"),
    "server app": _app("superexec-server", "flwr-serverapp"),
    "client app": _app("superexec-client-1", "flwr-clientapp"),
    "server's superexec": _of("superexec-server"),
}


def finished_rounds(directory: Path) -> dict[int, float]:
    """How long each finished round took: a round that is made again would take another time."""
    path = directory / LEDGER_NAME
    if not path.exists():
        return {}
    with suppress(Exception), Ledger.open(path) as ledger:
        return dict(ledger.query("SELECT round, seconds FROM round WHERE round > 0"))
    return {}


class Killer:
    """Waits for a round to be over, kills the victim, and takes the time until the next one is."""

    def __init__(self, victim: Victim, directory: Path) -> None:
        self.victim, self.directory = victim, directory
        self.killed = 0
        self.stood_still_s = float("nan")
        self.finished: dict[int, float] = {}
        """The rounds that were over when the victim died."""

    def __call__(self, services: Services) -> None:
        """Begin to wait, beside the run."""
        threading.Thread(target=self._kill, args=(services,), daemon=True).start()

    def _kill(self, services: Services) -> None:
        while len(finished_rounds(self.directory)) < KILLED_AFTER:
            time.sleep(LOOK_EVERY_S)
        while not self.killed:  # an app is there for part of a round only
            for pid in self.victim(services):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1
            time.sleep(LOOK_EVERY_S / 10)
        began, self.finished = time.monotonic(), finished_rounds(self.directory)
        while len(finished_rounds(self.directory)) <= len(self.finished):
            time.sleep(LOOK_EVERY_S)
        self.stood_still_s = time.monotonic() - began


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_run_outlives_a_kill(victim: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects deployments: whichever process dies, no residual is lost and no byte is counted twice.

    Nothing that was finished is done again, and the model and the ledger are those of a run left alone.
    """
    directory = tmp_path / "run"
    settings = {
        "data.clients": 2,
        "run.rounds": ROUNDS,
        "model.hidden": 8,
        "server.clients_per_round": 0,
        "server.round_timeout_s": 600.0,
        "run.reference": False,
        "run.directory": str(directory),
    }
    experiment = Experiment().with_values(settings)
    killer = Killer(VICTIMS[victim], directory)
    (tmp_path / "engine").mkdir()
    submissions = deploy(experiment, tmp_path / "engine", killer)
    deployed = summarise(directory)
    undisturbed = summarise(simulate(experiment, tmp_path / "simulated"))
    ended = finished_rounds(directory)
    again = sum(ended[number] != seconds for number, seconds in killer.finished.items())
    equal = (deployed.model_sha256, deployed.ledger_sha256) == (
        undisturbed.model_sha256,
        undisturbed.ledger_sha256,
    )
    redone = again + (submissions > 1)  # the round in work begins anew
    with capsys.disabled():
        still, same = f"{killer.stood_still_s:.0f} s", "equal" if equal else "others"
        usual = median(ended.values())
        print(f"\n| {victim} | {still} | {usual:.0f} s | {submissions} | {redone} | {same} |", end=" ")
    assert killer.killed
    assert deployed.rounds == ROUNDS
    assert again == 0
    assert submissions <= 2
    assert equal


def test_a_round_ends_at_its_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects a run from a node that is silent and not dead: rounds go on without it, and then with it."""
    directory = tmp_path / "run"
    settings = {
        "data.clients": 2,
        "run.rounds": 4,
        "model.hidden": 8,
        "server.clients_per_round": 0,
        "server.round_timeout_s": DEADLINE_S,
        "run.reference": False,
        "run.directory": str(directory),
    }
    node = ("supernode-1", "superexec-client-1")

    def silence(services: Services) -> None:
        def work() -> None:
            for rounds, number in ((SILENT_FROM, signal.SIGSTOP), (SILENT_FROM + 1, signal.SIGCONT)):
                while len(finished_rounds(directory)) < rounds:
                    time.sleep(LOOK_EVERY_S)
                for name in node:
                    os.killpg(services.pid(name), number)

        threading.Thread(target=work, daemon=True).start()

    (tmp_path / "engine").mkdir()
    assert deploy(Experiment().with_values(settings), tmp_path / "engine", silence) == 1
    took = finished_rounds(directory)
    with Ledger.open(directory / LEDGER_NAME) as ledger:
        missing = ledger.query("SELECT round FROM rejection WHERE client = '0'")
    with capsys.disabled():
        print(
            f"\nrounds of {DEADLINE_S:.0f} s at most took",
            ", ".join(f"{took[n]:.0f} s" for n in took),
            end=" ",
        )
    assert len(took) == 4
    assert (SILENT_FROM + 1,) in missing
    assert max(took.values()) <= DEADLINE_S + LAG_S
