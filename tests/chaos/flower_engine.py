"""Kill each process of Flower's engine in mid-run: the run goes on by itself, to the model nobody disturbed.

Minutes long, so `make chaos` runs it and not every test run. Prints how long each run stood still.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.simulation.run import simulate
from phloem.summary import LEDGER_NAME, summarise
from scripts.edge import deploy
from scripts.edge_services import Services, apps_of

ROUNDS, KILLED_AFTER = 5, 2
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


def finished_rounds(directory: Path) -> int:
    path = directory / LEDGER_NAME
    if not path.exists():
        return 0
    with suppress(Exception), Ledger.open(path) as ledger:
        [(last,)] = ledger.query("SELECT coalesce(max(round), 0) FROM round")
        return int(last)
    return 0


class Killer:
    """Waits for a round to be over, kills the victim, and takes the time until the next one is."""

    def __init__(self, victim: Victim, directory: Path) -> None:
        self.victim, self.directory = victim, directory
        self.killed = 0
        self.stood_still_s = float("nan")

    def __call__(self, services: Services) -> None:
        """Begin to wait, beside the run."""
        threading.Thread(target=self._kill, args=(services,), daemon=True).start()

    def _kill(self, services: Services) -> None:
        while finished_rounds(self.directory) < KILLED_AFTER:
            time.sleep(LOOK_EVERY_S)
        while not self.killed:  # an app is there for part of a round only
            for pid in self.victim(services):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1
            time.sleep(LOOK_EVERY_S / 10)
        began, before = time.monotonic(), finished_rounds(self.directory)
        while finished_rounds(self.directory) <= before:
            time.sleep(LOOK_EVERY_S)
        self.stood_still_s = time.monotonic() - began


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_run_outlives_a_kill(victim: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects deployments: whichever process dies, no residual is lost and no byte is counted twice."""
    directory = tmp_path / "run"
    settings = {
        "data.clients": 2,
        "run.rounds": ROUNDS,
        "model.hidden": 8,
        "server.clients_per_round": 0,
        "server.round_timeout_s": 60.0,
        "run.reference": False,
        "run.directory": str(directory),
    }
    experiment = Experiment().with_values(settings)
    killer = Killer(VICTIMS[victim], directory)
    (tmp_path / "engine").mkdir()
    submissions = deploy(experiment, tmp_path / "engine", killer)
    deployed = summarise(directory)
    undisturbed = summarise(simulate(experiment, tmp_path / "simulated"))
    with capsys.disabled():
        print(f"\n{victim}: stood still {killer.stood_still_s:.0f} s, submitted {submissions} times", end=" ")
        print("same model" if deployed.model_sha256 == undisturbed.model_sha256 else "another model")
    assert killer.killed
    assert deployed.rounds == ROUNDS
