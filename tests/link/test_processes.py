"""The link as users run it: `phloem serve` and `phloem join`, each a process, and each of them killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import yaml

from phloem.config import Experiment
from phloem.simulation.run import simulate
from phloem.summary import LEDGER_NAME, summarise
from tests.link.rig import until

DEVICES, ROUNDS = 2, 6
SETTINGS = {"data.clients": DEVICES, "run.rounds": ROUNDS, "model.hidden": 8, "run.reference": False}
PHLOEM = (sys.executable, "-c", "from phloem.cli.main import main; main()")
START_S = 120.0


@contextmanager
def processes(folder: Path) -> Iterator[Starter]:
    """Start `phloem` as often as wanted; whatever still runs at the end is stopped."""
    starter = Starter(folder)
    try:
        yield starter
    finally:
        for process in starter.running:
            process.kill()
            process.wait()


class Starter:
    """Starts processes with their words in a file each."""

    def __init__(self, folder: Path) -> None:
        """Keep words and data in `folder`."""
        self.folder, self.running = folder, list[subprocess.Popen[bytes]]()

    def __call__(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `phloem` with these arguments."""
        log = (self.folder / f"{len(self.running)}-{arguments[0]}.log").open("wb")
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        env["PHLOEM_LOG"] = "json"
        with log:
            process = subprocess.Popen(
                [*PHLOEM, *arguments], stdout=log, stderr=log, env=env, cwd=self.folder
            )
        self.running.append(process)
        return process


def free_address() -> str:
    """An address of loopback that is free, as is the port after it, and that a restart gets again."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 1))
                return f"127.0.0.1:{port}"


def finished_rounds(run: Path) -> int:
    """How far a run has come, seen from outside."""
    if not (run / LEDGER_NAME).exists():
        return -1
    with closing(sqlite3.connect(f"file:{run / LEDGER_NAME}?mode=ro", uri=True)) as ledger:
        try:
            [(last,)] = ledger.execute("SELECT coalesce(max(round), 0) FROM round").fetchall()
        except sqlite3.OperationalError:
            return -1
    return int(last)


def seconds_of_rounds(run: Path) -> dict[int, float]:
    """How long each round took: one that is made again would take another time."""
    with closing(sqlite3.connect(f"file:{run / LEDGER_NAME}?mode=ro", uri=True)) as ledger:
        return dict(ledger.execute("SELECT round, seconds FROM round WHERE round > 0").fetchall())


def commands(root: Path) -> dict[str, list[str]]:
    """What docker-compose.yml starts in its profile `link`, for this machine."""
    services = yaml.safe_load((root / "docker-compose.yml").read_text("utf-8"))["services"]
    local = {
        "--listen=0.0.0.0:8470": f"--listen={free_address()}",
        "--address=link-server": "--address=127.0.0.1",
    }
    local["--metrics=0.0.0.0:9470"] = f"--metrics={free_address()}"
    return {
        name: [local.get(part, part) for part in service["command"][1:]]
        for name, service in services.items()
        if "link" in service["profiles"]
    }


def check_logs(folder: Path) -> None:
    """Every line of a device is an object; the server's tell each round, and no token."""
    for path in folder.glob("*-join.log"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert "connected" in {line["event"] for line in lines}
        assert all({"time", "level", "event", "text"} <= set(line) for line in lines)
    words = "".join(path.read_text() for path in sorted(folder.glob("*-serve.log")))
    lines = [json.loads(line) for line in words.splitlines() if line.startswith("{")]
    rounds = [line for line in lines if line["event"] == "round"]
    assert {line["round"] for line in rounds} == set(range(1, ROUNDS + 1))
    assert all(line["wire_up_bytes"] > line["payload_up_bytes"] > 0 for line in rounds)
    assert {line["client"] for line in lines if line["event"] == "connected"} == {"0", "1"}
    assert "phloem1." not in words


def test_killed_processes_come_to_the_simulations_hash(root: Path, tmp_path: Path) -> None:
    """The compose file's services; a device, then the server die mid-run: the same model and ledger."""
    found = commands(root)
    serve = found.pop("link-server")
    serve += [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    run, tokens = tmp_path / "runs" / "link", tmp_path / "tokens"
    with processes(tmp_path) as start:
        server = start(*serve)
        until(lambda: all((tokens / f"token-{k}").exists() for k in range(DEVICES)), START_S)

        def join(place: int) -> subprocess.Popen[bytes]:
            own = f"--state=device-{place}"
            command = [own if part == "--state=state" else part for part in found[f"link-device-{place + 1}"]]
            return start(*command, "--once")

        devices = [join(place) for place in range(DEVICES)]
        until(lambda: finished_rounds(run) >= 1, START_S)
        devices[1].send_signal(signal.SIGKILL)
        devices[1] = join(1)
        until(lambda: finished_rounds(run) >= 3, START_S)
        server.send_signal(signal.SIGKILL)
        server.wait()
        finished = seconds_of_rounds(run)
        server = start(*serve)
        assert server.wait(START_S) == 0
        assert [device.wait(START_S) for device in devices] == [0, 0]
    ended = seconds_of_rounds(run)
    again = [number for number, seconds in finished.items() if ended[number] != seconds]
    assert again in ([], [max(finished)]), "at most the round that was in the ledger and not yet on the disk"
    deployed = summarise(run)
    simulated = summarise(simulate(Experiment().with_values(SETTINGS), tmp_path / "simulated"))
    check_logs(tmp_path)
    assert deployed.rounds == ROUNDS
    assert deployed.model_sha256 == simulated.model_sha256
    assert deployed.ledger_sha256 == simulated.ledger_sha256
