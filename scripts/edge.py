"""Start the services of docker-compose.yml as local processes, run the app on them, compare, stop them.

The commands are the compose file's own; only host names and ports are mapped to free ones on loopback.
Usage: scripts/edge [KEY=VALUE ...], settings of the run such as run.rounds=5.
Exit codes: 0 the run has the simulation's model and ledger, 2 bad input, 3 it has not, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from rich.console import Console

from phloem.config import Experiment, parse_assignments
from phloem.errors import ConfigError, PhloemError
from phloem.simulation.run import new_directory, simulate
from phloem.summary import summarise
from phloem.table import closing_table

ROOT = Path(__file__).resolve().parent.parent
DEVICES = 2
START_PATIENCE_S, STOP_PATIENCE_S, RUN_PATIENCE_S = 120.0, 20.0, 900.0
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
}


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def local_commands(compose: Mapping[str, Mapping[str, object]]) -> tuple[dict[str, list[str]], int]:
    """Return each service's command for this machine, and the SuperLink's port."""
    commands: dict[str, list[str]] = {}
    for name, service in compose.items():
        command = service["command"]
        if not isinstance(command, list):
            raise TypeError(f"The command of {name!r} should be a list. Found {command!r}.")
        commands[name] = [str(part) for part in command]
    ports: dict[tuple[str, str], int] = {}
    for name, command in commands.items():
        for part in command:
            if match := re.fullmatch(r"--port=(\d+)", part):
                ports[name, match[1]] = free_port()

    def localise(name: str, part: str) -> str:
        part = part.replace("--host=0.0.0.0", "--host=127.0.0.1")
        for (service, port), local in ports.items():
            part = part.replace(f"{service}:{port}", f"127.0.0.1:{local}")
            if service == name:
                part = part.replace(f"--port={port}", f"--port={local}")
        return part

    local = {name: [localise(name, part) for part in command] for name, command in commands.items()}
    return local, next(port for (service, _), port in ports.items() if service == "superlink")


@contextmanager
def processes(commands: Mapping[str, list[str]], folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Keep one process a service; stop them in the reverse order, each with whatever it started."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
                    )
                )
        yield
    finally:
        for process in reversed(running):
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE_S
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # the group: a SuperExec's apps outlive it for a while


def wait_for(port: int) -> None:
    """Return when the SuperLink answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"The SuperLink did not answer within {START_PATIENCE_S:g} s.") from None
            time.sleep(0.2)


def deploy(experiment: Experiment, folder: Path) -> None:
    """Run the app of this checkout on two SuperNodes; the run's folder is the experiment's."""
    commands, port = local_commands(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    home = folder / "flwr-home"
    home.mkdir(parents=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "edge"\n\n[superlink.edge]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    env = {**os.environ, **QUIET, "FLWR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    values = " ".join(f"{key}={_toml(value)}" for key, value in experiment.to_flat().items())
    with processes(commands, folder, env):
        wait_for(port)
        subprocess.run(
            ["flwr", "run", ".", "edge", "--stream", "--run-config", values],
            cwd=ROOT,
            env=env,
            check=True,
            timeout=RUN_PATIENCE_S,
        )


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def main(arguments: list[str]) -> int:
    """Deploy, show the ledger's table, and check the model against the simulation's."""
    console = Console()
    settings = {
        "run.rounds": 3,
        **parse_assignments(arguments),
        "data.clients": DEVICES,
        "run.reference": False,
    }
    experiment = Experiment().with_values(settings)
    directory = new_directory(experiment).resolve()
    experiment = experiment.with_values({"run.directory": str(directory)})
    with tempfile.TemporaryDirectory(prefix="phloem-edge-") as scratch:
        folder = Path(scratch)
        try:
            deploy(experiment, folder)
        except Exception:
            for log in sorted(folder.glob("*.log")):
                console.rule(log.name)
                console.out(log.read_text(errors="replace")[-2000:], highlight=False)
            raise
    summary = summarise(directory)
    console.print(closing_table(summary))
    simulated = summarise(simulate(experiment, directory / "simulated"))
    console.out(f"model  on Flower's engine {summary.model_sha256}", highlight=False)
    console.out(f"       simulated          {simulated.model_sha256}", highlight=False)
    console.out(f"ledger on Flower's engine {summary.ledger_sha256}", highlight=False)
    console.out(f"       simulated          {simulated.ledger_sha256}", highlight=False)
    console.out(f"folder {directory}", highlight=False)
    equal = (summary.model_sha256, summary.ledger_sha256) == (
        simulated.model_sha256,
        simulated.ledger_sha256,
    )
    return 0 if equal and summary.model_sha256 is not None else 3


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except (PhloemError, subprocess.SubprocessError) as error:
        print(f"scripts/edge: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 3)
